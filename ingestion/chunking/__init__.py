"""Splitting a document's text into chunks that fit the embedding model."""
