"""Which part of a conversation a model reads: the newest whole turns that fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from llama_index.core.llms import ChatMessage, MessageRole

from config.settings import ChatSettings
from server.answers import Message, Turn
from server.engines.models.model import LanguageModel
from server.engines.models.reasoning import without_reasoning
from server.engines.parts import Conversation
from server.engines.room import TokenCounter
from server.engines.writing.citations import uncited, without_markers

MESSAGE_TOKENS = 8  # role and frame of a message
SHARE = 0.5  # fraction of the context window without the answer; the passages need the rest


class History:
    """Cuts a conversation to what the settings and the model's context window allow."""

    def __init__(self, counter: TokenCounter, *, settings: ChatSettings) -> None:
        self._counter = counter
        self._most = settings.history_tokens

    def fitted(self, turn: Turn, *, model: LanguageModel | None) -> Conversation:
        """Return the newest whole turns that fit, without their citation markers."""
        extra = sum(self._counter.count(text) for text in (turn.summary, turn.instructions) if text)
        room = self._room(turn, model) - extra
        kept: list[Message] = []
        used = 0
        for said, answered in reversed(_turns(turn.history)):
            used += self._tokens(said) + self._tokens(answered)
            if used > room:
                break
            kept[:0] = (said, answered)
        return Conversation(
            history=tuple(chat_message(message) for message in kept),
            summary=turn.summary,
            instructions=turn.instructions,
            tokens=extra + sum(map(self._tokens, kept)),
        )

    def _room(self, turn: Turn, model: LanguageModel | None) -> int:
        if model is None:
            return self._most
        left = model.context_window - (turn.question.max_tokens or model.max_tokens)
        return min(self._most, int(left * SHARE))

    def _tokens(self, message: Message) -> int:
        counted = self._counter.count(message.content) if message.tokens is None else message.tokens
        return counted + MESSAGE_TOKENS


def _turns(history: Sequence[Message]) -> list[tuple[Message, Message]]:
    """Return question and answer pairs; unanswered questions are dropped, since models expect alternating roles."""
    return [
        (said, answered) for said, answered in pairwise(history) if (said.role, answered.role) == ("user", "assistant")
    ]


def chat_message(message: Message) -> ChatMessage:
    """Return a LlamaIndex message, without reasoning, and anything that looks like a citation of these passages."""
    if message.role == "user":
        return ChatMessage(role=MessageRole.USER, content=without_markers(message.content))
    return ChatMessage(role=MessageRole.ASSISTANT, content=uncited(without_reasoning(message.content)))
