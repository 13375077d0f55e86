"""Streams that outlive their connections: an answer is written once, and read by whoever holds its id."""
