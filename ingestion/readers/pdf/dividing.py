"""Divides what PDFium takes for one word: ``10`` and its exponent ``24``, and what stands in two cells of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.shapes import Edge

_SMALL = 0.85  # of the height of what an exponent stands at
_RAISED = 0.12  # of that height, between the lower edges
_SAME_LINE = 0.3  # of the lower part's height
_NEAR = 1.0  # points that a character may reach over a ruled line
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|re|e|[aº])[.,;:)]?", re.IGNORECASE)
_PLAIN_INDEX = re.compile(r"[\d.,;:()]+")  # H2O needs no mark


class Style(NamedTuple):
    """How the characters of a text object are drawn; `across`: from the font's top to its bottom, on one line."""

    invisible: bool
    white: bool
    frame: Frame
    skewed: bool
    across: tuple[float, float] | None = None


@dataclass(slots=True)
class Part:
    """Characters of a word that one operator shows.

    Attributes:
        first: PDFium's index of the first.
        mark: what is written before them: ``^`` of an exponent, ``_`` of an index.
        glued: no blank comes before them, though they are a word of their own.

    """

    raw: str
    first: int
    style: Style
    box: Box
    mark: str = ""
    glued: bool = False


def divided(parts: Sequence[Part], rules: Sequence[Sequence[Edge]]) -> Iterator[Part]:
    """Yield the words that the parts make; `rules` has the lines across the text for each quarter turn."""
    word, base = parts[0], parts[0]
    for part in parts[1:]:
        mark = _mark(base, part)
        if mark is not None:
            yield word
            word, part.mark, part.glued = part, mark, True
        elif _is_apart(base, part) or _is_ruled(word, part, rules[part.style.frame.turn]):
            yield word
            word = base = part
        elif word.glued:  # back on the line
            yield word
            part.glued = True
            word = base = part
        else:
            word.raw += part.raw
            word.box = word.box.with_box(part.box)
            base = part
    yield word


def _mark(base: Part, part: Part) -> str | None:
    """Return the mark of an exponent or index at `base`; None if it is none."""
    height = base.box.height
    if part.box.height > _SMALL * height or base.style.frame != part.style.frame:
        return None
    raised = base.box.bottom - part.box.bottom
    if raised > _RAISED * height:
        return "" if _ORDINAL.fullmatch(part.raw) or (not part.raw[0].isalnum() and part.raw[0] not in "-+−(") else "^"
    if part.box.top - base.box.top > (_SMALL - 0.5) * height and part.box.bottom >= base.box.bottom - 1:
        return "" if _PLAIN_INDEX.fullmatch(part.raw) else "_"
    return None


def _is_apart(before: Part, part: Part) -> bool:
    """Tell whether two parts stand one below the other: a fraction's."""
    shared = min(before.box.bottom, part.box.bottom) - max(before.box.top, part.box.top)
    lower = min(before.box.height, part.box.height)
    return before.style.frame == part.style.frame and shared < _SAME_LINE * lower


def _is_ruled(before: Part, part: Part, rules: Sequence[Edge]) -> bool:
    """Tell whether a line of a table stands between two parts."""
    middle = part.box.middle[1]
    return any(
        before.box.right - _NEAR <= rule.at <= part.box.left + _NEAR and rule.start <= middle <= rule.end
        for rule in rules
    )
