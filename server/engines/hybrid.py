"""Meaning and words together: both legs, fused by reciprocal rank."""

from llama_index.core.base.base_query_engine import BaseQueryEngine

from server.engines.assembly import retriever_engine
from server.engines.parts import EngineParts
from server.engines.retrieval import StoreRetriever


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    return retriever_engine(parts, retriever=StoreRetriever(parts, mode="hybrid"))
