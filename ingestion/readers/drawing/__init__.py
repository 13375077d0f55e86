"""Pages of PDFs and pictures, drawn as PNG with a passage marked."""
