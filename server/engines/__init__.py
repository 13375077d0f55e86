"""Query and chat engines behind a registry, and the interface to language models."""
