"""Tools that a client offers to the language model, and the calls that the model asks for; Footnote calls none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Choice = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the client's; `parameters` is a JSON schema, `strict` whether the model must keep to it."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What a model may call.

    Attributes:
        choice: ``auto``: as it likes; ``none``: nothing; ``required``: one at least.
        named: the one that it must call, with the choice ``required``.
        parallel: whether it may call several at once; None: as its provider has it.

    """

    offered: tuple[Tool, ...]
    choice: Choice = "auto"
    named: str | None = None
    parallel: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for; `arguments` is JSON as the model wrote it, which need not be valid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a call, as it comes in a stream.

    Attributes:
        index: which call of the answer it belongs to, from 0.
        arguments: further text of its arguments.
        id, name: in a call's first piece only.

    """

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


def whole_calls(pieces: Iterable[CallPiece]) -> tuple[ToolCall, ...]:
    """Put calls together from their pieces, in the order of their indexes."""
    calls: dict[int, ToolCall] = {}
    for piece in pieces:
        begun = calls.get(piece.index, ToolCall(piece.id, piece.name, ""))
        calls[piece.index] = ToolCall(begun.id, begun.name, begun.arguments + piece.arguments)
    return tuple(calls[index] for index in sorted(calls))
