"""The base class of our chat engines, and their streaming response."""

# ruff: noqa: ARG002 (the signatures are LlamaIndex's)

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NoReturn

from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import NodeWithScore


class PiecewiseResponse(StreamingAgentChatResponse):
    """A streaming response over an async generator; LlamaIndex's own needs a task, a queue and a memory."""

    def __init__(self, pieces: AsyncGenerator[str, None], *, source_nodes: Sequence[NodeWithScore] = ()) -> None:
        super().__init__(source_nodes=list(source_nodes), is_writing_to_memory=False)
        self._pieces = pieces

    def async_response_gen(self) -> AsyncGenerator[str, None]:
        """Return the generator itself, so that closing it closes the model's connection."""
        return self._pieces


class StatelessChatEngine(BaseChatEngine):
    """Answers one message with the history that comes with it; `astream_chat` is each engine's own."""

    async def achat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AgentChatResponse:
        """Answer as a whole."""
        response = await self.astream_chat(message, chat_history)
        pieces = [piece async for piece in response.async_response_gen()]
        return AgentChatResponse(response="".join(pieces), source_nodes=response.source_nodes)

    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> NoReturn:
        """Refuse: the model works on the server's event loop."""
        _refuse_sync("achat")

    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> NoReturn:
        """Refuse: the model works on the server's event loop."""
        _refuse_sync("astream_chat")

    def reset(self) -> None:
        """Do nothing: there is no state."""

    @property
    def chat_history(self) -> list[ChatMessage]:
        """Return nothing: the history is passed with each turn."""
        return []


def _refuse_sync(instead: str) -> NoReturn:
    msg = f"Footnote's chat engines are async: use `{instead}`"
    raise NotImplementedError(msg)
