"""Draws a page with a passage marked, found by the passage's offsets and not by searching for its text."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.errors import Unreadable
from ingestion.readers.pdf.content import Text, compose, joined, opened, read_content
from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.page import frame_of
from ingestion.readers.pdf.segments import Line, Span
from ingestion.readers.pdf.words import origins
from ingestion.types import ReadOptions

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

MAX_SIDE = 1600  # pixels of a drawn page's longer side
MIN_WIDTH = 64
_YELLOW = (255, 214, 0, 96)
_AROUND = 1.0  # points by which a mark is larger than its characters
_APART = 2.0  # heights of a line between words whose marks are not joined


class Rectangle(NamedTuple):
    """A part of a page in fractions of its width and height as seen, from the top left corner."""

    left: float
    top: float
    right: float
    bottom: float


def draw_page(
    data: bytes,
    *,
    name: str,
    page: int,
    start: int | None,
    end: int | None,
    options: ReadOptions,
    page_start: int | None = None,
    width: int = 1000,
) -> bytes:
    """Draw a page of a PDF as PNG, the characters `start` to `end` of its text marked.

    Args:
        data: the document.
        name: its name, for messages.
        page: number, from 1.
        start: offset in `Extracted.text`; with None nothing is marked.
        end: offset after the last character; may be beyond the page.
        options: with which the text was extracted.
        page_start: offset at which the page begins, if known: then no other page needs OCR.
        width: of the picture in pixels; less if its height would be more than `MAX_SIDE`.

    Raises:
        Unreadable: it is no PDF, is damaged, or has no such page.

    """
    _check_kind(data)
    with opened(data) as document:
        drawn, frame = _page(document, page)
        try:
            picture = _picture(drawn, frame, width)
        finally:
            drawn.close()
        if start is not None and end is not None and start < end:
            rectangles = _rectangles(document, page, (start, end), options, page_start)
            picture = _marked(picture, rectangles)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def page_rectangles(
    data: bytes, page: int, start: int, end: int, *, options: ReadOptions | None = None, page_start: int | None = None
) -> list[Rectangle]:
    """Return where the characters `start` to `end` of the text stand on a page, one rectangle for each line.

    Raises:
        Unreadable: as `draw_page`.

    """
    _check_kind(data)
    with opened(data) as document:
        _page(document, page)[0].close()
        return _rectangles(document, page, (start, end), options or ReadOptions(), page_start)


def _check_kind(data: bytes) -> None:
    if b"%PDF-" not in data[:1024]:
        msg = "not a PDF: only pages of PDFs are drawn"
        raise Unreadable(msg)


def _page(document: PdfDocument, number: int) -> tuple[PdfPage, Frame]:
    if not 1 <= number <= len(document):
        msg = f"there is no page {number}: it has {len(document)}"
        raise Unreadable(msg)
    page = document[number - 1]
    return page, frame_of(page)


def _picture(page: PdfPage, frame: Frame, width: int) -> Any:  # noqa: ANN401 (Pillow is loaded when needed)
    across, down = (max(length, 1.0) for length in frame.size)
    scale = min(max(width, MIN_WIDTH) / across, MAX_SIDE / max(across, down))
    if min(across, down) * scale < 1:
        msg = "a page too narrow to be drawn"
        raise Unreadable(msg)
    return page.render(scale=scale).to_pil().convert("RGB")


def _marked(picture: Any, rectangles: Iterable[Rectangle]) -> Any:  # noqa: ANN401
    from PIL import Image, ImageDraw

    layer = Image.new("RGBA", picture.size)
    brush = ImageDraw.Draw(layer)
    for left, top, right, bottom in rectangles:
        brush.rectangle(
            (left * picture.width, top * picture.height, right * picture.width, bottom * picture.height), fill=_YELLOW
        )
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _rectangles(
    document: PdfDocument, page: int, wanted: tuple[int, int], options: ReadOptions, page_start: int | None
) -> list[Rectangle]:
    content = read_content(document, options, tracked=page, scans_before=page_start is None)
    text = compose(content, language=options.language, tracked=page)
    if page_start is None:
        page_start = _page_start(text, page)
    drawn, frame = _page(document, page)
    try:
        boxes = list(_Marks(drawn, frame).of(text.places, wanted[0] - page_start, wanted[1] - page_start))
    finally:
        drawn.close()
    width, height = frame.size
    return [_fraction(box, width, height) for box in boxes]


def _page_start(text: Text, page: int) -> int:
    return joined(text.pages[: page + 1])[1][page - 1]


def _fraction(box: Box, width: float, height: float) -> Rectangle:
    sides = ((box.left - _AROUND) / width, (box.top - _AROUND) / height)
    ends = ((box.right + _AROUND) / width, (box.bottom + _AROUND) / height)
    left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in (*sides, *ends))
    return Rectangle(left, top, right, bottom)


class _Marks:
    """Finds the places of characters on a page."""

    def __init__(self, page: PdfPage, frame: Frame) -> None:
        self._page, self._frame = page, frame

    def of(self, places: Sequence[tuple[int, Line]], start: int, end: int) -> Iterator[Box]:
        """Yield boxes around the characters of a range of the page's text."""
        textpage = self._page.get_textpage()
        try:
            offsets = [offset for offset, _ in places]
            for offset, line in places[max(0, bisect_right(offsets, start) - 1) :]:
                if offset >= end:
                    break
                yield from self._of_line(textpage, line, start - offset, end - offset)
        finally:
            textpage.close()

    def _of_line(self, textpage: Any, line: Line, start: int, end: int) -> Iterator[Box]:  # noqa: ANN401
        joined_box: Box | None = None
        turn = 0
        for span in line.spans:
            if span.start < end and span.end > start:
                box = self._of_word(textpage, span, start, end)
                own = self._frame.turned(span.word.turn)
                if joined_box is not None and turn == own.turn and _is_near(joined_box, box):
                    joined_box = joined_box.with_box(box)
                else:
                    if joined_box is not None:
                        yield self._frame.seen_from(self._frame.turned(turn), joined_box)
                    joined_box, turn = box, own.turn
        if joined_box is not None:
            yield self._frame.seen_from(self._frame.turned(turn), joined_box)

    def _of_word(self, textpage: Any, span: Span, start: int, end: int) -> Box:  # noqa: ANN401
        """Return the box of a word, or of those of its characters that are wanted."""
        word = span.word
        box = word.shown or word.box
        first, last = max(start - span.start, 0), min(end, span.end) - span.start
        if first == 0 and last == span.end - span.start:
            return box
        if word.first < 0 or span.end - span.start != len(word.text):
            width = box.width / max(span.end - span.start, 1)
            return box._replace(left=box.left + first * width, right=box.left + last * width)
        sources = origins(word.raw)
        sources = [0] * (len(word.text) - len(sources)) + sources  # a mark before an exponent
        return self._of_characters(textpage, word.first, sources[first:last], box, word.turn)

    def _of_characters(self, textpage: Any, index: int, sources: Sequence[int], box: Box, turn: int) -> Box:  # noqa: ANN401
        frame = self._frame.turned(turn)
        parts = [frame.box(*textpage.get_charbox(index + source, loose=True)) for source in sources]
        left, right = min(part.left for part in parts), max(part.right for part in parts)
        return box._replace(left=max(left, box.left - 1), right=min(right, box.right + 1))


def _is_near(one: Box, other: Box) -> bool:
    """Tell whether marks can be one: on one line, not far from each other."""
    height = max(one.height, other.height)
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    gap = max(other.left - one.right, one.left - other.right)
    return shared > height / 2 and gap < _APART * height
