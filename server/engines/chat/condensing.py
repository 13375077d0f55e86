"""The chat engine of every retrieval mode: rewrite the message as a question, retrieve, answer with the history."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import structlog
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.abilities import conversational
from server.engines.chat.base import PiecewiseResponse, StatelessChatEngine
from server.engines.chat.follow_ups import MAX_LENGTH, searched_for
from server.engines.llama_index import pieces_of
from server.engines.parts import Engine, EngineParts
from server.engines.quoting.finding import Finder
from server.engines.writing.prompts import condense_messages

CONDENSED_TOKENS = 256
_log = structlog.get_logger(__name__)


class CondensingChatEngine(StatelessChatEngine):
    """Rewrites a message as a standalone question, and searches for that with a query engine of the registry.

    It is made of LlamaIndex's retrievers, postprocessors and synthesizers. Earlier turns are quoted as JSON in the
    prompt that rewrites the message, and are chat messages in the prompt that answers it.

    Attributes:
        refuses: whether it writes nothing where no passages were found.

    """

    refuses = True

    def __init__(self, parts: EngineParts, *, engine: BaseQueryEngine, condenses: bool = True) -> None:
        self._parts = parts
        self._engine = engine
        self._condenses = condenses

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        """Find the passages; the answer is written as it is read.

        `chat_history` is the conversation of the engine's parts, already cut to fit.
        """
        nodes = await self._found(message, chat_history or [])
        return PiecewiseResponse(self._pieces(message, nodes), source_nodes=nodes)

    async def standalone(self, message: str, history: list[ChatMessage]) -> str:
        """Return the message as a question that stands alone, and put it on record."""
        standalone, *_ = await self._standalone(message, history)
        self._parts.record.standalone_question = standalone
        return standalone

    async def _found(self, message: str, history: list[ChatMessage]) -> list[NodeWithScore]:
        """Return passages for the first reading of the message that they answer; of the last one, if they do not."""
        nodes: list[NodeWithScore] = []
        readings = await self._standalone(message, history)
        for left, standalone in zip(reversed(range(len(readings))), readings, strict=True):
            self._parts.record.standalone_question = standalone
            nodes = await self._engine.aretrieve(QueryBundle(standalone))  # type: ignore[attr-defined] # of most engines
            if not left or not await Finder(standalone, nodes, parts=self._parts).refuses():
                break
        return nodes

    async def _pieces(self, message: str, nodes: list[NodeWithScore]) -> AsyncGenerator[str, None]:
        response = await self._engine.asynthesize(QueryBundle(message), nodes)
        pieces = pieces_of(response)
        del response, nodes  # frees the nodes while the answer is streamed
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _standalone(self, message: str, history: list[ChatMessage]) -> tuple[str, ...]:
        """Return how the message may be read where it stands alone, the likeliest first; by a model, in one way."""
        if not history or not self._condenses:
            return (message,)
        model = conversational(self._parts.model)
        if model is None:
            return searched_for(message, _questions(history))
        with self._parts.record.stage("condense"):
            messages = condense_messages(message, self._parts.conversation)
            reply = await model.reply(messages, max_tokens=CONDENSED_TOKENS, on_finish=self._parts.record.add_call)
        condensed = " ".join(reply.split()).strip("\"'“”` ")
        return (condensed[:MAX_LENGTH] or message,)


def _questions(history: list[ChatMessage]) -> list[str]:
    return [said.content for said in history if said.role is MessageRole.USER and said.content]


def condensing(build: Engine) -> Callable[[EngineParts], BaseChatEngine]:
    """Return the builder of a chat engine that searches with a query engine."""
    return lambda parts: CondensingChatEngine(parts, engine=build(parts))
