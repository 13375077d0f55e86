"""One module a resource; routes know nothing of LlamaIndex or SQL."""
