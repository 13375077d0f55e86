"""Chat without retrieval: no documents, no citations."""

# ruff: noqa: ARG002 (the signature is LlamaIndex's)

from __future__ import annotations

from llama_index.core.chat_engine.types import BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.llms import ChatMessage

from server.engines.abilities import chat_model
from server.engines.chat.base import PiecewiseResponse, StatelessChatEngine
from server.engines.models.model import LanguageModel
from server.engines.parts import EngineParts
from server.engines.writing.prompts import simple_messages
from server.engines.writing.synthesis import written


class SimpleChatEngine(StatelessChatEngine):
    """Answers from the conversation alone."""

    def __init__(self, parts: EngineParts, *, model: LanguageModel) -> None:
        self._parts = parts
        self._model = model

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        """Answer; the history is that of the engine's parts."""
        return PiecewiseResponse(written(self._parts, self._model, simple_messages(message, self._parts.conversation)))


def build(parts: EngineParts) -> BaseChatEngine:
    """Return the engine for one turn."""
    return SimpleChatEngine(parts, model=chat_model(parts))
