"""Caches of question vectors and of answers."""
