"""One search: by vector, by keyword (without an embedding), or by both (hybrid)."""

from typing import Literal

from llama_index.core.base.base_query_engine import BaseQueryEngine

from server.engines.assembly import retriever_engine
from server.engines.parts import Engine, EngineParts
from server.engines.retrieval import StoreRetriever


def engine_of(mode: Literal["hybrid", "vector", "keyword"]) -> Engine:
    """Return the builder of a mode's engine."""

    def build(parts: EngineParts) -> BaseQueryEngine:
        """Return the engine for one request."""
        return retriever_engine(parts, retriever=StoreRetriever(parts, mode=mode))

    return build


build_hybrid = engine_of("hybrid")
build_vector = engine_of("vector")
build_keyword = engine_of("keyword")
