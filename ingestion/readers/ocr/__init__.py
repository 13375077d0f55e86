"""Text in pictures, by models of PP-OCR."""
