"""One page: its words, laid out as lines in reading order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingestion.readers.pdf.columns import blocks_of
from ingestion.readers.pdf.frames import Frame
from ingestion.readers.pdf.lines import line_of, lines_of
from ingestion.readers.pdf.rules import grids
from ingestion.readers.pdf.segments import Line, segments_of
from ingestion.readers.pdf.shapes import Shapes, shapes_of
from ingestion.readers.pdf.tables import aligned_tables, ruled_tables
from ingestion.readers.pdf.words import PageWords, Word, words_of

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_MAX_WORDS = 60_000  # of a page that is laid out; one with more keeps PDFium's order


@dataclass(slots=True)
class Page:
    """A page's content.

    Attributes:
        lines: in reading order; without those of notes and form fields only if it has none.
        hidden: words left out because nobody sees them.
        outside: words left out because they are off the page.
        lost: characters whose font does not say what they are.
        recognised: words that OCR has put over a picture before.

    """

    frame: Frame
    shapes: Shapes
    lines: list[Line] = field(default_factory=list)
    hidden: int = 0
    outside: int = 0
    lost: int = 0
    recognised: int = 0


def frame_of(page: PdfPage) -> Frame:
    """Return the visible rectangle of a page, turned as the page says."""
    left, bottom, right, top = page.get_bbox()
    return Frame(left, bottom, right, top, page.get_rotation() // 90 % 4)


def read_page(page: PdfPage, extra: Sequence[Word] = ()) -> Page:
    """Read a page's text, with words that come from elsewhere, a form's values say, at their places.

    Raises:
        pypdfium2.PdfiumError: its text cannot be loaded.

    """
    frame = frame_of(page)
    shapes = shapes_of(page, frame)
    textpage = page.get_textpage()
    try:
        found: PageWords = words_of(textpage, frame, shapes)
    finally:
        textpage.close()
    lines = layout([*found.words, *extra], frame, shapes)
    return Page(frame, shapes, lines, found.hidden, found.outside, found.lost, found.recognised)


def layout(words: Sequence[Word], frame: Frame, shapes: Shapes) -> list[Line]:
    """Return the lines that words make: those in the direction of most first, then those of others."""
    groups: dict[tuple[bool, int], list[Word]] = {}
    for word in words:
        groups.setdefault((word.skewed, word.turn), []).append(word)
    sizes = Counter({key: sum(len(word.text) for word in group) for key, group in groups.items()})
    lines: list[Line] = []
    for (skewed, turn), _ in sizes.most_common():
        group = groups[skewed, turn]
        part = _in_order(group) if skewed or len(group) > _MAX_WORDS else _laid_out(group, frame, turn, shapes)
        if part and lines:
            part[0].gap = True
        lines += part
    return lines


def _laid_out(words: list[Word], frame: Frame, turn: int, shapes: Shapes) -> list[Line]:
    ruled = grids(*shapes.turned(frame, frame.turned(turn))) if shapes.across and shapes.down else []
    tables, words = ruled_tables(ruled, words) if ruled else ([], words)
    blocks = blocks_of([*segments_of(words), *tables])
    return lines_of([aligned_tables(block) for block in blocks])


def _in_order(words: list[Word]) -> list[Line]:
    return [line_of(segment.words) for segment in segments_of(words)]
