"""Waiting with a bound, and being interrupted."""
