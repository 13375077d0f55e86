"""Embedding models that other programs run: OpenAI's protocol, Ollama's, and LlamaIndex's classes."""
