"""Any LlamaIndex `LLM` as a provider: what its class can do, its threads, its answers and its errors."""
