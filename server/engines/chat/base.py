"""What our chat engines have in common, and how they give an answer piece by piece."""

# ruff: noqa: ARG002 (the signatures are LlamaIndex's)

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NoReturn

from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import NodeWithScore


class PiecewiseResponse(StreamingAgentChatResponse):
    """LlamaIndex's streaming response without its task, its queue and its memory: the pieces come from a generator."""

    def __init__(self, pieces: AsyncGenerator[str, None], *, source_nodes: Sequence[NodeWithScore] = ()) -> None:
        super().__init__(source_nodes=list(source_nodes), is_writing_to_memory=False)
        self._pieces = pieces

    def async_response_gen(self) -> AsyncGenerator[str, None]:
        """Return the generator itself: closing it must reach the model's connection."""
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
        """Nothing to forget."""

    @property
    def chat_history(self) -> list[ChatMessage]:
        """Nothing: a turn's history comes with it, and goes with it."""
        return []


def _refuse_sync(instead: str) -> NoReturn:
    msg = f"Footnote's chat engines are async: use `{instead}`"
    raise NotImplementedError(msg)
