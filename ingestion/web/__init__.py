"""Fetching public web pages and feeds, guarded against requests to private networks. Imported only for URLs."""
