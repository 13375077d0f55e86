"""Several models in a row: which failures the next one is asked after, and as a LlamaIndex `LLM` that works alone."""
