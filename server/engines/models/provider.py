"""The interface of a model's provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from server.answers import Usage

if TYPE_CHECKING:
    from llama_index.core.llms import ChatMessage


LOCAL = "local"  # the provider whose model is so small that its answers are checked


@dataclass(frozen=True, slots=True)
class Request:
    """The request of one call.

    Attributes:
        schema: a JSON schema that the answer must keep; servers that cannot constrain it answer freely.
        whole: ask for the answer in one piece: nobody reads it before it is complete.

    """

    messages: tuple[ChatMessage, ...]
    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    schema: Mapping[str, object] | None = None
    whole: bool = False

    @property
    def prompt(self) -> str:
        """The prompt for a base model: the messages, one after the other."""
        return "\n\n".join(message.content or "" for message in self.messages)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a provider's stream; empty if it is only a sign of life.

    Attributes:
        reasoning: what the provider itself tells apart from the answer.

    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None


class Provider(Protocol):
    """One kind of model server."""

    name: str
    model: str
    is_chat: bool

    def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Call the model once; raises `ModelError`s only. Closing the generator closes the connection."""
        ...

    async def probe(self) -> str | None:
        """Return why the model cannot answer now, or None if it can; costs no tokens."""
        ...

    async def close(self) -> None:
        """Close connections, end processes."""
        ...
