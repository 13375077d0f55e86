"""Measures what a collection finds for golden questions: ``python -m evaluation``."""
