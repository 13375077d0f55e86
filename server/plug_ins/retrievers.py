"""Retrievers of plug-ins, which become engines with Footnote's selection, synthesis and citations."""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.assembly import retriever_engine
from server.engines.llama_index import AsyncRetriever
from server.engines.parts import EngineParts
from server.plug_ins.abilities import Way, way_of
from server.plug_ins.calls import Away, Calls, kind_of
from server.plug_ins.passages import checked_nodes, shown_to_caller


def way_to_retrieve(retriever: type[BaseRetriever]) -> Way:
    """Return how a class of retrievers is to be called."""
    return way_of(retriever, "_aretrieve", base=BaseRetriever)


async def retrieved(retriever: BaseRetriever | Away, query: QueryBundle, calls: Calls) -> list[NodeWithScore]:
    """Return what a retriever finds.

    Raises:
        FootnoteError: see `Calls.threaded`; or it found something else than nodes.

    """
    way = way_to_retrieve(kind_of(retriever))
    return checked_nodes(await calls.called(way, retriever, "aretrieve", "retrieve", query), calls)


class InThreads(BaseRetriever):
    """A synchronous retriever as a part of an engine of a plug-in: its `aretrieve` does not block the event loop."""

    def __init__(self, retriever: BaseRetriever, calls: Calls) -> None:
        super().__init__(callback_manager=CallbackManager([]))
        self._retriever = retriever
        self._calls = calls

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._retriever.retrieve(query_bundle)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await retrieved(self._retriever, query_bundle, self._calls)


class PlugInRetriever(AsyncRetriever):
    """A retriever of a plug-in for one question: it returns what the caller may see."""

    def __init__(self, retriever: BaseRetriever | Away, parts: EngineParts, calls: Calls) -> None:
        super().__init__()
        self._retriever = retriever
        self._parts = parts
        self._calls = calls

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        with self._parts.record.stage("retrieve"):
            found = await retrieved(self._retriever, query_bundle, self._calls)
            return await shown_to_caller(found, self._parts, self._calls)


def engine_over(retriever: BaseRetriever | Away, calls: Calls) -> Callable[[EngineParts], BaseQueryEngine]:
    """Return the builder of the engine over a retriever of a plug-in."""
    return lambda parts: retriever_engine(parts, retriever=PlugInRetriever(retriever, parts, calls))
