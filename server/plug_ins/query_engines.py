"""Query engines of plug-ins, which find and answer by themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.answers import is_blank
from server.engines.parts import EngineParts
from server.errors import PlugInUnable
from server.plug_ins.abilities import Way, has_own, way_of
from server.plug_ins.calls import Calls
from server.plug_ins.passages import shown_to_caller
from server.plug_ins.retrievers import InThreads, way_to_retrieve

NOTHING, AN_ANSWER = "", "an answer with words"
Responses = (Response, StreamingResponse, AsyncStreamingResponse, PydanticResponse)


def way_to_query(engine: type[BaseQueryEngine]) -> Way:
    """Return how a class of query engines is to be called."""
    if issubclass(engine, CustomQueryEngine):
        return way_of(engine, "acustom_query", base=CustomQueryEngine)
    return way_of(engine, "_aquery", base=BaseQueryEngine)


def lacks(engine: type[BaseQueryEngine]) -> tuple[str, ...]:
    """Return what a class of query engines cannot do, as requests name it."""
    can_retrieve = any(has_own(engine, name, base=BaseQueryEngine) for name in ("retrieve", "aretrieve"))
    return () if can_retrieve else ("/retrieve",)


class PlugInEngine(BaseQueryEngine):
    """A query engine of a plug-in, for one question.

    `make` returns the engine itself; it is called in a thread, where it may take its time.
    """

    def __init__(self, parts: EngineParts, calls: Calls, make: Callable[[EngineParts], Any]) -> None:
        super().__init__(callback_manager=CallbackManager([]))
        self._parts = parts
        self._calls = calls
        self._make = make
        self._made: BaseQueryEngine | None = None

    @property
    def refuses(self) -> bool:
        """Whether it writes nothing where no passages were found, so that Footnote says so."""
        return isinstance(self._made, RetrieverQueryEngine)

    async def inner(self) -> BaseQueryEngine:
        """Return the plug-in's engine.

        Raises:
            FootnoteError: see `Calls.threaded`; or it is no query engine.

        """
        if self._made is None:
            made = await self._calls.threaded(self._make, self._parts)
            if not isinstance(made, BaseQueryEngine):
                raise self._calls.unfit(made, "a BaseQueryEngine")
            self._made = _with_retrievers_in_threads(made, self._calls)
            self._parts.record.author = f"plug-in:{self._calls.name}"
        return self._made

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Return the passages; `PlugInUnable` if its class has no such method."""
        inner = await self.inner()
        if lacks(type(inner)):
            raise PlugInUnable(self._calls.name, f"{type(inner).__name__} has no retrieve, which /retrieve needs")
        way = way_of(type(inner), "aretrieve", base=BaseQueryEngine)
        nodes = await self._calls.called(way, inner, "aretrieve", "retrieve", query_bundle)
        return await shown_to_caller(nodes, self._parts, self._calls)

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> AsyncStreamingResponse:
        """Return the answer from passages that `aretrieve` returned."""
        inner = await self.inner()
        way = way_of(type(inner), "asynthesize", base=BaseQueryEngine)
        arguments = (query_bundle, nodes, additional_source_nodes)
        response = await self._calls.called(way, inner, "asynthesize", "synthesize", *arguments)
        return AsyncStreamingResponse(self._pieces(self._checked(response)), source_nodes=nodes)

    async def _aquery(self, query_bundle: QueryBundle) -> AsyncStreamingResponse:
        inner = await self.inner()
        way = way_to_query(type(inner))
        response = self._checked(await self._calls.called(way, inner, "aquery", "query", query_bundle))
        nodes = await shown_to_caller(response.source_nodes, self._parts, self._calls, numbered=True)
        return AsyncStreamingResponse(self._pieces(response), source_nodes=nodes)

    def _query(self, query_bundle: QueryBundle) -> AsyncStreamingResponse:
        msg = "Footnote's engines are async: await aquery()"
        raise NotImplementedError(msg, query_bundle.query_str[:0])

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _checked(self, response: Any) -> Any:  # noqa: ANN401 (one of LlamaIndex's four classes)
        if not isinstance(response, Responses):
            raise self._calls.unfit(response, "a Response")
        return response

    async def _pieces(self, response: Any) -> AsyncGenerator[str, None]:  # noqa: ANN401 (see above)
        async for piece in answer_pieces(_text_of(response), self._calls):
            yield piece


async def answer_pieces(source: Any, calls: Calls) -> AsyncGenerator[str, None]:  # noqa: ANN401 (text, or an iterator)
    """Yield a plug-in's answer.

    Raises:
        FootnoteError: see `Calls.threaded`; or it is empty, or no text.

    """
    if not any(hasattr(source, name) for name in ("__next__", "__anext__")) and not isinstance(source, str):
        raise calls.unfit(source, "a text in an answer")
    is_empty = True
    pieces = calls.pieces(iter([source]) if isinstance(source, str) else source)
    async for piece in pieces:
        if not isinstance(piece, str):
            raise calls.unfit(piece, "a text in an answer")
        is_empty = is_empty and is_blank(piece)
        yield piece.replace("\0", "\ufffd")
    if is_empty:
        raise calls.unfit(NOTHING, AN_ANSWER)


def _text_of(response: Any) -> Any:  # noqa: ANN401 (see above)
    """Return a response's text, or the iterator of its pieces."""
    if isinstance(response, StreamingResponse | AsyncStreamingResponse):
        return response.response_txt or response.response_gen
    return str(response) if isinstance(response, PydanticResponse) else response.response or ""


def _with_retrievers_in_threads(engine: BaseQueryEngine, calls: Calls) -> BaseQueryEngine:
    """Return an engine whose synchronous retrievers run in threads, though the engine itself is async."""
    for name, part in list(getattr(engine, "__dict__", {}).items()):
        if isinstance(part, BaseRetriever) and (calls.blocks or way_to_retrieve(type(part)) != "async"):
            setattr(engine, name, InThreads(part, calls))
    return engine
