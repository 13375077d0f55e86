"""Meaning alone: nearest vectors."""

from llama_index.core.base.base_query_engine import BaseQueryEngine

from server.engines.assembly import retriever_engine
from server.engines.parts import EngineParts


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    return retriever_engine(parts, mode="vector")
