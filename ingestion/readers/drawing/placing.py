"""Where the lines of a page stand in its text as it is indexed.

The text has the page's lines in the order in which they are read, but not all: headers that other pages repeat were
left out, and hyphens of divided words, with regard to the whole document. So only this page is read to draw it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ingestion.readers.hyphens import ends_divided
from ingestion.readers.pdf.segments import Line

_SPACE = re.compile(r"\s")  # passages are kept without the white space between them: which it was is not known
_LINE_END = re.compile(r"\s*\n|\s*\Z")
_AHEAD = 40  # lines that are left out in a row, at most


def placed(lines: Sequence[Line], text: str) -> Iterator[tuple[int, Line]]:
    """Yield the lines that the text has, each with its offset.

    Lines are compared one after the other. Where none of the next ones goes on, because the text was read in another
    way than today, the line is looked for further on.
    """
    places = _Places(text)
    shown = [_SPACE.sub(" ", line.text) for line in lines]
    for index, line in enumerate(lines):
        ahead = shown[index : index + _AHEAD]
        start = places.take(ahead[0])
        if start is None and not any(map(places.has_next, ahead)):
            start = places.take_later(ahead[0])
        if start is not None:
            yield start, line


class _Places:
    """A text, and how much of it was found."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._blank = _SPACE.sub(" ", text)
        self._at = 0
        self._skip(0)

    def has_next(self, line: str) -> bool:
        return self._length(line, self._at) > 0

    def take(self, line: str) -> int | None:
        """Return where a line begins if it comes next, and go on behind it."""
        return self._taken(line, self._at)

    def take_later(self, line: str) -> int | None:
        """Return where a line begins further on, and go on behind it."""
        found = self._blank.find(line, self._at)
        return self._taken(line, found) if found >= 0 else None

    def _taken(self, line: str, at: int) -> int | None:
        length = self._length(line, at)
        if not length:
            return None
        self._skip(at + length)
        return at

    def _length(self, line: str, at: int) -> int:
        """Return how many characters at a place are a line, perhaps without its hyphen; 0 if they are another."""
        divided = ends_divided(line)
        if self._blank.startswith(line, at) and (divided or _LINE_END.match(self._text, at + len(line))):
            return len(line)
        return len(line) - 1 if divided and self._blank.startswith(line[:-1], at) else 0

    def _skip(self, at: int) -> None:
        while at < len(self._blank) and self._blank[at] == " ":
            at += 1
        self._at = at
