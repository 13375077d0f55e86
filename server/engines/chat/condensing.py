"""The chat engine of every retrieval mode: rewrite the message as a question, retrieve, answer with the history."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import structlog
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.schema import QueryBundle

from server.engines.abilities import conversational
from server.engines.chat.base import PiecewiseResponse, StatelessChatEngine
from server.engines.llama_index import pieces_of
from server.engines.parts import Engine, EngineParts
from server.engines.writing.prompts import condense_messages

MAX_STANDALONE_LENGTH = 2000  # characters
CONDENSED_TOKENS = 256
FEW_WORDS = 4
_LEANING = re.compile(
    r"^(and|or|but|so|also|then|what about|how about|why|und|oder|aber|auch|warum|et|ou|mais|y|o|pero)\b"
    r"|\b(it|its|they|them|their|this|that|these|those|there|he|she|him|her|his|one|same|former|latter)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
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
        standalone = await self.standalone(message, chat_history or [])
        nodes = await self._engine.aretrieve(QueryBundle(standalone))  # type: ignore[attr-defined] # of most engines
        return PiecewiseResponse(self._pieces(message, nodes), source_nodes=nodes)

    async def standalone(self, message: str, history: list[ChatMessage]) -> str:
        """Return the message as a question that stands alone, and put it on record."""
        standalone = message
        if history and self._condenses:
            with self._parts.record.stage("condense"):
                standalone = await self._standalone(message, history)
        self._parts.record.standalone_question = standalone
        return standalone

    async def _pieces(self, message: str, nodes: list[object]) -> AsyncGenerator[str, None]:
        response = await self._engine.asynthesize(QueryBundle(message), nodes)  # type: ignore[arg-type]
        pieces = pieces_of(response)
        del response, nodes  # frees the nodes while the answer is streamed
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _standalone(self, message: str, history: list[ChatMessage]) -> str:
        model = conversational(self._parts.model)
        if model is None:
            return with_previous_question(message, history)
        messages = condense_messages(message, self._parts.conversation)
        reply = await model.reply(messages, max_tokens=CONDENSED_TOKENS, on_finish=self._parts.record.add_call)
        condensed = " ".join(reply.split()).strip("\"'“”` ")
        return condensed[:MAX_STANDALONE_LENGTH] or message


def with_previous_question(message: str, history: list[ChatMessage]) -> str:
    """Return a message preceded by the previous question if it seems to depend on it: it is short, or has a pronoun.

    For models that cannot be asked to rewrite it.
    """
    earlier = [said.content or "" for said in history if said.role is MessageRole.USER]
    if not earlier or (len(_WORD.findall(message)) > FEW_WORDS and not _LEANING.search(message)):
        return message
    return f"{earlier[-1]} {message}"[-MAX_STANDALONE_LENGTH:]


def condensing(build: Engine) -> Callable[[EngineParts], BaseChatEngine]:
    """Return the builder of a chat engine that searches with a query engine."""
    return lambda parts: CondensingChatEngine(parts, engine=build(parts))
