"""Documents: rows, texts, originals, locations."""
