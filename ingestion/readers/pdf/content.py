"""The pages of a document, read one after the other, and their text, put together with regard to all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingestion.errors import Unreadable
from ingestion.readers.boilerplate import EdgeLine, boilerplate
from ingestion.readers.hyphens import Vocabulary, ends_divided
from ingestion.readers.ocr import engine as ocr
from ingestion.readers.pdf.fields import Annotations
from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.lines import SENTENCE_END
from ingestion.readers.pdf.page import Page, frame_of, layout, read_page
from ingestion.readers.pdf.scans import words_of_scan
from ingestion.readers.pdf.segments import Line
from ingestion.readers.pdf.shapes import Shapes
from ingestion.types import ReadOptions

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

MAX_PAGES = 50_000
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD in fpdfview.h
_PLACE = 4.0  # points within which lines of several pages stand at the same place
_FEW_LETTERS = 10  # of a page that is a scan if it has a picture
_SOME_LETTERS = 120  # of a page whose picture fills it: a stamp, a page number
_LARGE_PICTURE = 0.15  # of a page
_FILLING_PICTURE = 0.7
_TELLING_PICTURE = 0.08  # smaller ones are logos
_OUTLINES = 30  # paths of a page without text that may be drawn letters
_OCR_SCALE = 200 / 72
_OCR_PIXELS = 8_000_000


@dataclass(slots=True)
class Content:
    """What was read of a document's pages; the numbers of pages count from 1.

    Attributes:
        pages: lines of each page in reading order.
        scores: confidence of the pages read by OCR.
        textless: pages without text that were not read by OCR.
        pictures: pages with text whose pictures were not read.
        damaged: pages that cannot be read.
        left: pages beyond the limit.

    """

    pages: list[list[Line]] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    textless: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    hidden: dict[int, int] = field(default_factory=dict)
    outside: dict[int, int] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    left: int = 0


@contextmanager
def opened(data: bytes) -> Iterator[PdfDocument]:
    """Open a document, and close it.

    Raises:
        Unreadable: it is damaged, encrypted or without pages, or PDFium finds so in the block.

    """
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(data)
    except PdfiumError as exc:
        # PDFium's error code is that of the last failure, perhaps of another file: check further
        encrypted = getattr(exc, "err_code", None) == _WRONG_PASSWORD and b"/Encrypt" in data
        msg = "an encrypted PDF; remove its password first" if encrypted else "a damaged PDF, or one without pages"
        raise Unreadable(msg) from exc
    try:
        yield document
    except PdfiumError as exc:
        msg = "a damaged PDF"
        raise Unreadable(msg) from exc
    finally:
        document.close()


def read_content(
    document: PdfDocument, options: ReadOptions, *, tracked: int | None = None, scans_before: bool = True
) -> Content:
    """Read the pages of a document.

    Args:
        document: an open one.
        options: what to read by OCR.
        tracked: number of a page whose lines keep their words' places; others lose them, to save memory. OCR ends
            with it.
        scans_before: read scanned pages before the tracked one, too.

    """
    return _Reading(document, options, tracked, scans_before=scans_before).content()


class _Reading:
    def __init__(self, document: PdfDocument, options: ReadOptions, tracked: int | None, *, scans_before: bool) -> None:
        self._document = document
        self._options = options
        self._tracked = tracked
        self._scans_before = scans_before
        self._end = time.monotonic() + options.ocr_seconds
        self._content = Content(left=max(0, len(document) - MAX_PAGES))
        self._annotations = Annotations(_form_of(document))

    def content(self) -> Content:
        from pypdfium2 import PdfiumError

        for number in range(1, min(len(self._document), MAX_PAGES) + 1):
            try:
                lines = self._page(number)
            except PdfiumError:
                self._content.damaged.append(number)
                lines = []
            if number != self._tracked:
                for line in lines:
                    line.spans = []
            self._content.pages.append(lines)
        return self._content

    def _page(self, number: int) -> list[Line]:
        page = self._document[number - 1]
        try:
            values, notes = self._annotations.read(page, frame_of(page))
            found = read_page(page, values)
            self._count(number, found)
            lines = found.lines
            if _is_scan(found):
                lines = self._scanned(number, page, found)
            elif any(_is_large(box, found.frame) for box in found.shapes.pictures) and not found.recognised:
                lines = self._with_pictures(number, page, found)
            return [*lines, *(Line(f"Note: {note}", Box(0, 0, 0, 0), [], gap=True) for note in notes)]
        finally:
            page.close()

    def _count(self, number: int, page: Page) -> None:
        for counts, count in (
            (self._content.hidden, page.hidden),
            (self._content.outside, page.outside),
            (self._content.lost, page.lost),
        ):
            if count:
                counts[number] = count

    def _scanned(self, number: int, page: PdfPage, found: Page) -> list[Line]:
        """Return the lines of a page that is a picture: those that it has, and those that OCR reads."""
        if not self._may_read(number):
            self._content.textless.append(number)
            return found.lines
        reading = ocr.read_image(_drawn(page, found.frame.size))
        if not reading.words:
            if found.shapes.pictures and not found.lines:
                self._content.textless.append(number)
            return found.lines
        self._content.scores[number] = reading.confidence
        frame = found.frame.turned(found.frame.turn + reading.turned)
        own = [span.word for line in found.lines for span in line.spans]
        there = [found.frame.seen_from(found.frame.turned(word.turn), word.box) for word in own]
        read = [
            word
            for word in words_of_scan(reading, frame)
            if not any(box.holds(found.frame.seen_from(frame, word.box).middle) for box in there)
        ]
        return layout([*own, *read], found.frame, found.shapes)

    def _with_pictures(self, number: int, page: PdfPage, found: Page) -> list[Line]:
        """Return the lines of a page with text, and if wanted what its pictures say."""
        if not (self._options.pictures and self._may_read(number)):
            self._content.pictures.append(number)
            return found.lines
        reading = ocr.read_image(_drawn(page, found.frame.size))
        if reading.words and not reading.turned:
            read = [w for w in words_of_scan(reading, found.frame) if found.shapes.picture_below(w.shown or w.box)]
            if read:
                self._content.scores[number] = reading.confidence
                own = layout(read, found.frame, Shapes())
                own[0].gap = True
                return [*found.lines, *own]
        return found.lines

    def _may_read(self, number: int) -> bool:
        if self._tracked is not None and (
            number > self._tracked or (number < self._tracked and not self._scans_before)
        ):
            return False
        within = len(self._content.scores) < self._options.ocr_pages and time.monotonic() < self._end
        return self._options.ocr and within and ocr.available()


def _form_of(document: PdfDocument) -> Any:  # noqa: ANN401 (a pointer of ctypes)
    from pypdfium2 import PdfiumError

    try:
        document.init_forms()
    except PdfiumError:
        return None
    return document.formenv.raw if document.formenv else None


def _is_scan(page: Page) -> bool:
    """Tell whether what a page says is in a picture, or in drawn outlines of letters."""
    letters = sum(char.isalnum() for line in page.lines for char in line.text) - page.lost
    if page.recognised and letters >= _FEW_LETTERS:
        return False
    width, height = page.frame.size
    covered = max((_shown(box, width, height) for box in page.shapes.pictures), default=0) / max(width * height, 1)
    if covered >= _FILLING_PICTURE:
        return letters < _SOME_LETTERS
    if letters < _FEW_LETTERS:
        return covered >= _LARGE_PICTURE or page.shapes.paths >= _OUTLINES or page.lost > _FEW_LETTERS
    return page.lost > letters


def _is_large(box: Box, frame: Frame) -> bool:
    width, height = frame.size
    return _shown(box, width, height) >= _TELLING_PICTURE * width * height


def _shown(box: Box, width: float, height: float) -> float:
    """Return how much of a page a box covers, in square points."""
    across = min(box.right, width) - max(box.left, 0)
    return max(across, 0) * max(min(box.bottom, height) - max(box.top, 0), 0)


def _drawn(page: PdfPage, size: tuple[float, float]) -> Any:  # noqa: ANN401 (Pillow is loaded when needed)
    scale = min(_OCR_SCALE, (_OCR_PIXELS / max(size[0] * size[1], 1)) ** 0.5)
    return page.render(scale=scale, may_draw_forms=False).to_pil()


@dataclass(slots=True)
class Text:
    """The text of a document, put together.

    Attributes:
        pages: of each page its text.
        places: of the tracked page (offset in its text, line).
        dropped: lines that were left out as boilerplate.

    """

    pages: list[str]
    places: list[tuple[int, Line]]
    dropped: int


def compose(content: Content, *, language: str, tracked: int | None = None) -> Text:
    """Put the text of all pages together: without boilerplate, with divided words joined where they belong together."""
    dropped = _boilerplate(content)
    words = _LazyVocabulary(content.pages, language)
    text = Text([], [], sum(map(len, dropped)))
    for number, (lines, left_out) in enumerate(zip(content.pages, dropped, strict=True), 1):
        kept = [line for index, line in enumerate(lines) if index not in left_out]
        page, places = _page_text(kept, words)
        text.pages.append(page)
        if number == tracked:
            text.places = places
    return text


class _LazyVocabulary:
    """Collects a document's words when the first divided word is met."""

    def __init__(self, pages: Sequence[Sequence[Line]], language: str) -> None:
        self._pages, self._language = pages, language
        self._words: Vocabulary | None = None

    def belongs(self, before: str, after: str) -> bool:
        return self._vocabulary().belongs(before, after)

    def divides(self, before: str, after: str) -> bool:
        return ends_divided(before) and not self._vocabulary().suspends(before, after)

    def _vocabulary(self) -> Vocabulary:
        if self._words is None:
            self._words = Vocabulary(self._whole_words(), language=self._language)
        return self._words

    def _whole_words(self) -> Iterator[str]:
        """Yield the lines without the parts of divided words."""
        for lines in self._pages:
            divided = False
            for line in lines:
                text = line.text
                if divided:
                    text = text.partition(" ")[2]
                divided = ends_divided(line.text)
                yield text.rpartition(" ")[0] if divided else text


def _boilerplate(content: Content) -> list[frozenset[int]]:
    """Return which lines of each page are headers and footers, by their place in the list of lines."""
    orders = [sorted(range(len(lines)), key=lambda index: lines[index].box.top) for lines in content.pages]
    edges = [
        [
            EdgeLine(content.pages[page][index].text, round(content.pages[page][index].box.top / _PLACE))
            for index in order
            if not content.pages[page][index].table
        ]
        for page, order in enumerate(orders)
    ]
    plain = [[index for index in order if not content.pages[page][index].table] for page, order in enumerate(orders)]
    found = boilerplate(edges)
    return [frozenset(plain[page][index] for index in indexes) for page, indexes in enumerate(found)]


def _page_text(lines: Sequence[Line], words: _LazyVocabulary) -> tuple[str, list[tuple[int, Line]]]:
    parts: list[str] = []
    places: list[tuple[int, Line]] = []
    length = 0
    for index, line in enumerate(lines):
        following = lines[index + 1] if index + 1 < len(lines) else None
        text, end = line.text, "\n"
        if following is None:
            end = ""
        elif following.gap or line.table:
            end = "\n\n"
        if following is not None and end == "\n" and not following.table and words.divides(text, following.text):
            keeps = words.belongs(text, following.text)
            text, end = (text if keeps else text[:-1]), ("" if following.text[:1].isalnum() else end)
        places.append((length, line))
        parts += [text, end]
        length += len(text) + len(end)
    return "".join(parts), places


def joined(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """Join pages; one that ends within a sentence continues on the next. Return the text and where pages begin."""
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for text in pages:
        starts.append(length)
        part = text + ("\n\n" if text.endswith(SENTENCE_END) else "\n")
        parts.append(part)
        length += len(part)
    return "".join(parts), tuple(starts)
