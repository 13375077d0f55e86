"""One search, by meaning (``vector``), by words (``keyword``: no embedding is made) or by both (``hybrid``)."""

from typing import Literal

from llama_index.core.base.base_query_engine import BaseQueryEngine

from server.engines.assembly import retriever_engine
from server.engines.parts import Engine, EngineParts
from server.engines.retrieval import StoreRetriever


def engine_of(mode: Literal["hybrid", "vector", "keyword"]) -> Engine:
    """Return what builds the engine of a mode."""

    def build(parts: EngineParts) -> BaseQueryEngine:
        """Return the engine for one request."""
        return retriever_engine(parts, retriever=StoreRetriever(parts, mode=mode))

    return build


build_hybrid = engine_of("hybrid")
build_vector = engine_of("vector")
build_keyword = engine_of("keyword")
