"""Words alone: full-text search; no embedding is made."""

from llama_index.core.base.base_query_engine import BaseQueryEngine

from server.engines.assembly import retriever_engine
from server.engines.parts import EngineParts
from server.engines.retrieval import StoreRetriever


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    return retriever_engine(parts, retriever=StoreRetriever(parts, mode="keyword"))
