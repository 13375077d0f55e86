"""The headings above a place in a passage: its path as it was indexed, and the headings in its text since."""

from __future__ import annotations

from ingestion.chunking.context import SEPARATOR

_ANCHORS = " ¶"


class Headings:
    """A path that goes on with each heading of the text.

    The levels of the path's own headings are not known: they are taken to follow each other, down to the level of the
    heading that a passage begins with, where it begins with the path's last.
    """

    def __init__(self, path: str) -> None:
        self._path = [
            (level, each.rstrip(_ANCHORS)) for level, each in enumerate(filter(None, path.split(SEPARATOR)), start=1)
        ]
        self._is_indexed = True

    @property
    def own(self) -> str:
        """The heading of the place; "" if there is none."""
        return self._path[-1][1] if self._path else ""

    @property
    def above(self) -> str:
        """The headings above it, the highest first, divided by blanks."""
        return " ".join(text for _, text in self._path[:-1])

    def enter(self, text: str, level: int) -> None:
        """Go on below a heading of a level, 1 to 6."""
        text = text.rstrip(_ANCHORS)
        if self._is_indexed and text == self.own:
            lowered = level - len(self._path)
            self._path = [(place + lowered, each) for place, (_, each) in enumerate(self._path, start=1)]
        else:
            self._path = [(known, each) for known, each in self._path if known < level] + [(level, text)]
        self._is_indexed = False
