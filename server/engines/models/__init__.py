"""The interface to language models: providers, one retry policy, deadlines, and our own errors."""
