"""Selecting, joining and widening passages."""
