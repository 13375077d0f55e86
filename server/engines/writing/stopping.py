"""Ends an answer at a request's `stop` texts where the model's server cannot, as readers get another text than it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.engines.record import Record


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first of the `stops`; all of it if it has none."""
    ends = [end for stop in stops if stop and (end := text.find(stop)) >= 0]
    return text[: min(ends, default=len(text))]


async def until_stop(
    pieces: AsyncGenerator[str, None], stops: Sequence[str], *, record: Record
) -> AsyncGenerator[str, None]:
    """Yield what comes before the first of the `stops`, and end there; what may begin one is held back."""
    held = ""
    async with aclosing(pieces):
        async for piece in pieces:
            if any(thought.retracts for thought in record.thoughts):  # what was held was reasoning
                held = ""
            held += piece
            kept = before_stop(held, stops)
            if kept != held:
                if kept:
                    yield kept
                return
            sent = len(held) - _begun(held, stops)
            yield held[:sent]  # an empty piece tells of new reasoning
            held = held[sent:]
    if held:
        yield held


def _begun(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end of a text may begin one of the `stops`."""
    longest = max(map(len, stops), default=0)
    lengths = range(min(longest - 1, len(text)), 0, -1)
    return next((length for length in lengths if any(stop.startswith(text[-length:]) for stop in stops)), 0)
