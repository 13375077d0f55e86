"""Pieces of lines, and the rows that they stand in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from ingestion.readers.pdf.frames import Box
from ingestion.readers.pdf.words import Word

GAP = 0.7  # of the font's height: words with more between them may belong to different columns
_INITIAL = 1.8  # times the usual height
_SAME_LINE = 0.5  # of the lower word's height
_OVERLAP = 0.5  # of the font's height by which a word may begin before the end of the one before it


class Span(NamedTuple):
    """Where a word stands in its line's text."""

    start: int
    end: int
    word: Word


@dataclass(slots=True)
class Line:
    """A line of text, or a table.

    Attributes:
        box: in the frame of its words.
        soft: it ends with a hyphen, behind which PDFium would go on.
        gap: a new paragraph begins with it.
        table: it has several lines, which stay as they are.

    """

    text: str
    box: Box
    spans: list[Span]
    gap: bool = False
    table: bool = False


@dataclass(slots=True)
class Segment:
    """Words side by side, or a table.

    Attributes:
        order: place in PDFium's order.
        line: of a table, its text.

    """

    words: list[Word]
    box: Box
    order: int
    line: Line | None = field(default=None)


Row = list[Segment]


def segments_of(words: Sequence[Word]) -> list[Segment]:
    """Join words that follow each other on a line, in PDFium's order, which is that of bidirectional text."""
    segments: list[Segment] = []
    for order, word in enumerate(words):
        last = segments[-1] if segments else None
        if last is not None and _continues(last.words[-1], word):
            last.words.append(word)
            last.box = last.box.with_box(word.box)
        else:
            segments.append(Segment([word], word.box, order))
    return segments


def _continues(before: Word, word: Word) -> bool:
    left, top, right, bottom = before.box
    next_left, next_top, next_right, next_bottom = word.box
    lower = min(bottom - top, next_bottom - next_top)
    if max(bottom - top, next_bottom - next_top) > _INITIAL * lower:
        return False
    shared = (min(next_bottom, bottom)) - (max(next_top, top))
    if shared <= 0 or shared < _SAME_LINE * lower:
        return False
    size = max(bottom - top, next_bottom - next_top)
    gap = max(next_left - right, left - next_right)
    return -_OVERLAP * size <= gap <= GAP * size


def same_line(one: Box, other: Box) -> bool:
    """Tell whether two boxes stand in one line."""
    shared = min(one[3], other[3]) - max(one[1], other[1])
    return shared > 0 and shared >= _SAME_LINE * min(one[3] - one[1], other[3] - other[1])


def rows_of(segments: Iterable[Segment]) -> list[Row]:
    """Group segments that stand in one line, from the top; each row in reading direction."""
    rows: list[Row] = []
    for segment in _downwards(list(segments)):
        row = rows[-1] if rows else None
        if row and segment.line is None and row[0].line is None and same_line(_longest(row).box, segment.box):
            row.append(segment)
        else:
            rows.append([segment])
    return [_in_direction(row) for row in rows]


def _downwards(segments: list[Segment]) -> list[Segment]:
    """Sort segments from the top; an initial over several lines stands in the first of them."""
    usual = median([segment.box.height for segment in segments]) if segments else 0.0
    return sorted(segments, key=lambda one: (one.box.top + min(one.box.height, _INITIAL * usual) / 2, one.box.left))


def _longest(row: Row) -> Segment:
    return max(row, key=lambda segment: len(segment.words))


def _in_direction(row: Row) -> Row:
    if len(row) > 1 and is_leftward("".join(word.text for segment in row for word in segment.words)):
        return sorted(row, key=lambda segment: -segment.box.right)
    return sorted(row, key=lambda segment: segment.box.left)


def is_leftward(text: str) -> bool:
    """Tell whether a text is written from right to left."""
    if text.isascii():
        return False
    letters = [unicodedata.bidirectional(char) for char in text if char.isalpha()]
    return sum(kind in {"R", "AL"} for kind in letters) * 2 > len(letters)
