"""One document, one transaction: read, chunk, embed, write."""
