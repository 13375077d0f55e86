"""Which rows of a table a chunk has."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise


class Rows:
    """The numbered rows of a document's tables.

    Args:
        text: the document's.
        rows: as in `Extracted.rows`.

    """

    def __init__(self, text: str, rows: Sequence[tuple[int, int]]) -> None:
        self._text = text
        self._rows = rows
        self._starts = [start for start, _ in rows]

    def within(self, start: int, end: int) -> tuple[int | None, int | None]:
        """Return the first and the last row of ``text[start:end]``; (None, None) if it has none, or of two tables."""
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end)
        if first > 0 and self._end(first - 1) > start:  # a row that exceeds a chunk is cut
            first -= 1
        numbers = [number for _, number in self._rows[first:last]]
        if not numbers or any(after <= before for before, after in pairwise(numbers)):
            return None, None
        return numbers[0], numbers[-1]

    def _end(self, place: int) -> int:
        """Return the end of a row: of a line with bars, else of a paragraph."""
        start = self._starts[place]
        following = self._starts[place + 1] if place + 1 < len(self._starts) else len(self._text)
        line_end = self._text.find("\n", start, following)
        if line_end < 0 or self._text.find("|", start, line_end) >= 0:
            return following if line_end < 0 else line_end
        blank = self._text.find("\n\n", start, following)
        return blank if blank >= 0 else following
