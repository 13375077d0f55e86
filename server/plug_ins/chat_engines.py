"""Chatting with plug-ins: chat engines of their own, and query engines, which are asked a question of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.chat_engine.types import (
    AgentChatResponse,
    BaseChatEngine,
    StreamingAgentChatResponse,
)
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import QueryBundle

from server.engines.chat.base import PiecewiseResponse, StatelessChatEngine
from server.engines.chat.condensing import CondensingChatEngine
from server.engines.llama_index import pieces_of
from server.engines.parts import EngineParts
from server.plug_ins.abilities import Way, way_of
from server.plug_ins.calls import Calls
from server.plug_ins.passages import shown_to_caller
from server.plug_ins.query_engines import PlugInEngine, answer_pieces, lacks


def way_to_stream(engine: type[BaseChatEngine]) -> Way:
    """Return how a class of chat engines is to be called for a stream; only ``async`` ones do stream."""
    return way_of(engine, "astream_chat", base=BaseChatEngine)


def way_to_chat(engine: type[BaseChatEngine]) -> Way:
    """Return how a class of chat engines is to be called for a whole answer."""
    return way_of(engine, "achat", base=BaseChatEngine)


class PlugInChat(StatelessChatEngine):
    """A chat engine of a plug-in, for one turn: it is made anew, since LlamaIndex's remember what was said to them."""

    def __init__(self, parts: EngineParts, calls: Calls, make: Callable[[EngineParts], Any]) -> None:
        self._parts = parts
        self._calls = calls
        self._make = make

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        """Answer; a class that cannot stream answers in one piece."""
        engine = await self._calls.threaded(self._make, self._parts)
        if not isinstance(engine, BaseChatEngine):
            raise self._calls.unfit(engine, "a BaseChatEngine")
        self._parts.record.author = f"plug-in:{self._calls.name}"
        response = await self._answer(engine, message, list(chat_history or ()))
        if not isinstance(response, AgentChatResponse | StreamingAgentChatResponse):
            raise self._calls.unfit(response, "a chat response")
        nodes = await shown_to_caller(response.source_nodes, self._parts, self._calls, numbered=True)
        whole = isinstance(response, AgentChatResponse)
        text = response.response if whole else response.async_response_gen()
        return PiecewiseResponse(answer_pieces(text, self._calls), source_nodes=nodes)

    async def _answer(self, engine: BaseChatEngine, message: str, history: list[ChatMessage]) -> object:
        if way_to_stream(type(engine)) == "async" and not self._calls.blocks:
            return await self._calls.awaited(engine.astream_chat, message, history)
        return await self._calls.called(way_to_chat(type(engine)), engine, "achat", "chat", message, history)


class PlugInTurn(CondensingChatEngine):
    """A turn with a query engine of a plug-in: one that cannot retrieve apart is asked as `/query` asks it."""

    def __init__(self, parts: EngineParts, *, engine: PlugInEngine) -> None:
        super().__init__(parts, engine=engine)
        self._plug_in = engine

    @property
    def refuses(self) -> bool:  # type: ignore[override] # a class variable there
        """See `PlugInEngine.refuses`."""
        return self._plug_in.refuses

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        """Make the message stand alone, and ask the engine."""
        if not lacks(type(await self._plug_in.inner())):
            return await super().astream_chat(message, chat_history)
        standalone = await self.standalone(message, chat_history or [])
        response = await self._plug_in.aquery(QueryBundle(standalone))
        return PiecewiseResponse(pieces_of(response), source_nodes=response.source_nodes)
