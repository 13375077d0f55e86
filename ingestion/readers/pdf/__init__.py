"""PDF, with PDFium, the engine of Chrome: fast, maintained, and hardened against hostile files."""

from ingestion.readers.pdf.reader import read_pdf

__all__ = ["read_pdf"]
