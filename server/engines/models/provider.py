"""The interface of a model's provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from server.answers import Usage
from server.tool_calls import CallPiece, Tools

if TYPE_CHECKING:
    from llama_index.core.llms import ChatMessage


LOCAL = "local"  # the provider whose model is so small that its answers are checked


@dataclass(frozen=True, slots=True)
class Request:
    """The request of one call.

    Attributes:
        schema: a JSON schema that the answer must keep; servers that cannot constrain it answer freely.
        whole: ask for the answer in one piece: nobody reads it before it is complete.
        tools: what the model may call; only providers that say they can are asked so.

    """

    messages: tuple[ChatMessage, ...]
    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    schema: Mapping[str, object] | None = None
    whole: bool = False
    tools: Tools | None = None

    @property
    def prompt(self) -> str:
        """The prompt for a base model: the messages, one after the other."""
        return "\n\n".join(message.content or "" for message in self.messages)

    @property
    def read(self) -> str:
        """Everything that a model reads of it, by which its tokens are estimated."""
        calls = [
            f"{block.tool_name} {block.tool_kwargs}"
            for message in self.messages
            for block in message.blocks
            if block.block_type == "tool_call"
        ]
        tools = self.tools.offered if self.tools else ()
        offered = [f"{tool.name} {tool.description} {tool.parameters}" for tool in tools]
        return "\n\n".join((self.prompt, *calls, *offered))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a provider's stream; empty if it is only a sign of life.

    Attributes:
        reasoning: what the provider itself tells apart from the answer.
        calls: pieces of calls of tools, numbered as the server has it.

    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    calls: tuple[CallPiece, ...] = ()


class Provider(Protocol):
    """One kind of model server.

    Attributes:
        doubt: why its calls may fail though `probe` found nothing; None: no reason is known.

    """

    name: str
    model: str
    is_chat: bool
    doubt: str | None

    def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Call the model once; raises `ModelError`s only. Closing the generator closes the connection."""
        ...

    def why_no_tools(self, tools: Tools) -> str:
        """Return why its model cannot be offered these tools; empty if it can."""
        ...

    async def probe(self) -> str | None:
        """Return why the model cannot answer now, or None if it can; costs no tokens."""
        ...

    async def close(self) -> None:
        """Close connections, end processes."""
        ...
