"""Ends a model's text at a request's stop sequences: classes name that option differently, and some have none."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Holds back what may begin a stop sequence; `is_over` once one came."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_over = False

    def feed(self, piece: str) -> str:
        """Return the text that can be let go."""
        text = self._held + piece
        ends = [end for stop in self._stops if (end := text.find(stop)) >= 0]
        if ends:
            self.is_over, self._held = True, ""
            return text[: min(ends)]
        held = max((_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def end(self) -> str:
        """Return the rest: no stop sequence came of it."""
        rest, self._held = self._held, ""
        return rest


def _begun(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin a stop sequence."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((length for length in lengths if stop.startswith(text[-length:])), 0)
