"""The inputs of a run, and which of them changed."""
