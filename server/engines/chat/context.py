"""Search for the message as it is, without rewriting it: one model call per turn."""

from llama_index.core.chat_engine.types import BaseChatEngine

from server.engines.chat.condensing import CondensingChatEngine
from server.engines.parts import EngineParts
from server.engines.query.plain import build_hybrid


def build(parts: EngineParts) -> BaseChatEngine:
    """Return the engine for one turn."""
    return CondensingChatEngine(parts, engine=build_hybrid(parts), condenses=False)
