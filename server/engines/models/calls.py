"""Calls of tools in a model's answer, numbered."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from server.engines.models.errors import ModelFailed
from server.engines.models.provider import Chunk, Request
from server.tool_calls import CallPiece


class AnswerCalls:
    """The calls in one answer; without tools in its request, what a server sends of them is left out."""

    def __init__(self, request: Request) -> None:
        self._numbers = CallNumbers() if request.tools else None
        self.has_any = False

    def of(self, chunk: Chunk) -> list[CallPiece]:
        """Return the pieces in a chunk, numbered."""
        if self._numbers is None:
            return []
        self.has_any = self.has_any or bool(chunk.calls)
        return [self._numbers.numbered(piece) for piece in chunk.calls]


class CallNumbers:
    """Numbers the calls of one answer from 0.

    Servers differ: some number none of them, or all of them 0, and tell a new call by its id; some give no ids, and
    some repeat id and name with each piece.
    """

    def __init__(self) -> None:
        self._given: list[str] = []
        self._numbers: dict[int, int] = {}

    def numbered(self, piece: CallPiece) -> CallPiece:
        """Return a piece with its call's number; with an id and a name if, and only if, it is the first of its call.

        Raises:
            ModelFailed: it begins a call of no function.

        """
        number = self._numbers.get(piece.index)
        if number is not None and not _begins(piece, after=self._given[number]):
            return replace(piece, index=number, id="", name="")
        if not piece.name:
            msg = "the model called a tool without saying which"
            raise ModelFailed(msg)
        number = self._numbers[piece.index] = len(self._given)
        self._given.append(piece.id)
        return replace(piece, index=number, id=piece.id or f"call_{uuid4().hex}")


def _begins(piece: CallPiece, *, after: str) -> bool:
    """Tell whether a piece begins a call, though another with its index has begun, whose id is `after`."""
    return piece.id != after if piece.id else bool(piece.name) and not after
