"""Citations: collecting cited passages, and removing invalid markers while the answer is streamed."""

from __future__ import annotations

import re

MARKER = re.compile(r"\[\s*(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\s*\]")
_BEGUN = re.compile(r"\s?\[[\s\d,;]{0,60}\Z|\s\Z")
_PASSAGE_NUMBER = re.compile(r"(?<![\w\])])\[(\s*\d{1,4}\s*)\]")
_LOOKALIKE = re.compile(r"\[(\s*\d{1,4}(?:\s*[,;]\s*\d{1,4})*\s*)\]")


def without_markers(text: str) -> str:
    """Return a document's text with its own ``[3]`` as ``(3)``: only the answer's markers may look like citations."""
    return _LOOKALIKE.sub(r"(\1)", text)


def unnumbered(text: str) -> str:
    """Return a user's message without anything that looks like a numbered passage; ``list[0]`` is kept."""
    return _PASSAGE_NUMBER.sub(r"(\1)", text)


class CitationFilter:
    """Takes an answer's pieces; returns them without markers of passages that do not exist.

    A piece that may be the beginning of a marker is held back until the next one decides. ``[1, 9]`` of three passages
    becomes ``[1]``.

    Attributes:
        cited: the ids that the answer cites.

    """

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self._held = ""
        self.cited: set[int] = set()

    def feed(self, piece: str) -> str:
        """Return the text that is final now."""
        text = self._held + piece
        begun = _BEGUN.search(text)
        self._held = text[begun.start() :] if begun else ""
        return self._checked(text[: begun.start()] if begun else text)

    def end(self) -> str:
        """Return what was held back."""
        held, self._held = self._held, ""
        return self._checked(held)

    def _checked(self, text: str) -> str:
        return re.sub(rf"( ?){MARKER.pattern}", self._check, text)

    def _check(self, match: re.Match[str]) -> str:
        space, numbers = match.group(1), [int(number) for number in re.findall(r"\d+", match.group(2))]
        known = [number for number in numbers if 1 <= number <= self._passages]
        self.cited.update(known)
        if known == numbers:
            return match.group(0)
        return f"{space}[{', '.join(map(str, known))}]" if known else ""
