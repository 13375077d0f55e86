"""Where characters of a page's text stand on the page: found by their offsets, and not by searching for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ingestion.readers.drawing.placing import placed
from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.segments import Line, Span
from ingestion.readers.pdf.words import Word, cleaned, origins

_AROUND = 1.0  # points by which a mark is larger than its characters
_APART = 2.0  # heights of a line between words whose marks are not joined


class Rectangle(NamedTuple):
    """A part of a page in fractions of its width and height as seen, from the top left corner."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The lines of a page in reading order, with their words; `frame` is the page as it is seen."""

    frame: Frame
    lines: Sequence[Line]

    @property
    def words(self) -> int:
        """Number of words, which tells how much memory it takes."""
        return sum(len(line.spans) for line in self.lines)


class CharacterBoxes(Protocol):
    """Places of single characters, where a page knows them."""

    def __call__(self, index: int, frame: Frame) -> Box:
        """Return the box of the character with PDFium's index, as it is seen in a frame."""
        ...


def rectangles(
    layout: Layout, text: str, start: int, end: int, characters: CharacterBoxes | None = None
) -> list[Rectangle]:
    """Return where the characters `start` to `end` of a page's text stand on it, one rectangle for each line."""
    width, height = layout.frame.size
    boxes = _Marks(layout.frame, characters).of(placed(layout.lines, text), start, end)
    return [_fraction(box, width, height) for box in boxes]


def _fraction(box: Box, width: float, height: float) -> Rectangle:
    sides = ((box.left - _AROUND) / width, (box.top - _AROUND) / height)
    ends = ((box.right + _AROUND) / width, (box.bottom + _AROUND) / height)
    left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in (*sides, *ends))
    return Rectangle(left, top, right, bottom)


class _Marks:
    def __init__(self, frame: Frame, characters: CharacterBoxes | None) -> None:
        self._frame, self._characters = frame, characters

    def of(self, places: Iterator[tuple[int, Line]], start: int, end: int) -> Iterator[Box]:
        """Yield boxes around the characters of a range of the page's text."""
        for offset, line in places:
            if offset >= end:
                break
            yield from self._of_line(line, start - offset, end - offset)

    def _of_line(self, line: Line, start: int, end: int) -> Iterator[Box]:
        joined_box: Box | None = None
        turn = 0
        for span in line.spans:
            if span.start < end and span.end > start:
                box = self._of_word(span, start, end)
                own = self._frame.turned(span.word.turn)
                if joined_box is not None and turn == own.turn and _is_near(joined_box, box):
                    joined_box = joined_box.with_box(box)
                else:
                    if joined_box is not None:
                        yield self._frame.seen_from(self._frame.turned(turn), joined_box)
                    joined_box, turn = box, own.turn
        if joined_box is not None:
            yield self._frame.seen_from(self._frame.turned(turn), joined_box)

    def _of_word(self, span: Span, start: int, end: int) -> Box:
        """Return the box of a word, or of those of its characters that are wanted."""
        word = span.word
        box = word.shown or word.box
        first, last = max(start - span.start, 0), min(end, span.end) - span.start
        if first == 0 and last == span.end - span.start:
            return box
        if self._characters is None or word.first < 0 or span.end - span.start != len(word.text):
            width = box.width / max(span.end - span.start, 1)
            return box._replace(left=box.left + first * width, right=box.left + last * width)
        sources = origins(word.raw)
        mark = max(word.text.find(cleaned(word.raw)), 0)  # before an exponent; behind it may be a bracket
        sources = ([0] * mark + sources + sources[-1:])[: len(word.text)]
        return self._of_characters(self._characters, word, sources[first:last], box)

    def _of_characters(self, characters: CharacterBoxes, word: Word, sources: Sequence[int], box: Box) -> Box:
        frame = self._frame.turned(word.turn)
        parts = [characters(word.first + source, frame) for source in sources]
        left, right = min(part.left for part in parts), max(part.right for part in parts)
        return box._replace(left=max(left, box.left - 1), right=min(right, box.right + 1))


def _is_near(one: Box, other: Box) -> bool:
    """Tell whether marks can be one: on one line, not far from each other."""
    height = max(one.height, other.height)
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    gap = max(other.left - one.right, one.left - other.right)
    return shared > height / 2 and gap < _APART * height
