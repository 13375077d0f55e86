"""Bytes to text: what is declared, what is valid, and what is likely."""
