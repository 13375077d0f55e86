"""Asking an engine without LlamaIndex's instrumentation, where nothing records it.

Each of its methods makes an id, looks its own signature up and builds events, whoever listens: that took more CPU of a
question than its search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle
from opentelemetry import trace

from server.engines.retrieval import StoreRetriever
from server.engines.writing.synthesis import StreamingSynthesizer

Method = TypeVar("Method", bound=Callable[..., Any])


async def answered(engine: Any, query: QueryBundle) -> Any:  # noqa: ANN401 (one of LlamaIndex's engines, and responses)
    """Return an engine's response to a query."""
    synthesizer = getattr(engine, "_response_synthesizer", None)
    if not _is_direct(engine) or not isinstance(synthesizer, StreamingSynthesizer):
        return await engine.aquery(query)
    return synthesizer.response(query.query_str, await _retrieved(engine, query))


async def retrieved(engine: Any, query: QueryBundle) -> list[NodeWithScore]:  # noqa: ANN401
    """Return the passages that an engine finds for a query."""
    found: list[NodeWithScore] = await (_retrieved if _is_direct(engine) else type(engine).aretrieve)(engine, query)
    return found


def _is_direct(engine: object) -> bool:
    """Tell whether an engine is no more than our retriever, postprocessors and a synthesizer, and is not recorded."""
    return (
        type(engine) is RetrieverQueryEngine
        and isinstance(engine._retriever, StoreRetriever)  # noqa: SLF001 (LlamaIndex has no other way)
        and not trace.get_current_span().is_recording()
    )


async def _retrieved(engine: RetrieverQueryEngine, query: QueryBundle) -> list[NodeWithScore]:
    nodes: list[NodeWithScore] = await _bare(engine._retriever._aretrieve)(query)  # noqa: SLF001
    for postprocessor in engine._node_postprocessors:  # noqa: SLF001
        nodes = await _bare(postprocessor._apostprocess_nodes)(nodes, query)  # noqa: SLF001
    return nodes


def _bare(method: Method) -> Method:
    """Return a method as it was before the instrumentation wrapped it."""
    return getattr(method, "__wrapped__", method)
