"""What a model's provider is asked, what it sends, and what it must be able to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from server.answers import Usage

if TYPE_CHECKING:
    from llama_index.core.llms import ChatMessage


LOCAL = "local"  # the provider whose model is too small to be taken at its word


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as providers get it."""

    messages: tuple[ChatMessage, ...]
    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The text for a base model: the messages as they are, one after the other."""
        return "\n\n".join(message.content or "" for message in self.messages)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a provider sent: any of these, or nothing but a sign of life (a model that is thinking)."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None


class Provider(Protocol):
    """One way to reach a model."""

    name: str
    model: str
    is_chat: bool

    def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Ask once; raise `ModelError`s only; closing the generator closes the connection."""
        ...

    async def probe(self) -> str | None:
        """Return why the model cannot answer now, or None if it can; costs no tokens."""
        ...

    async def close(self) -> None:
        """Close connections, end processes."""
        ...
