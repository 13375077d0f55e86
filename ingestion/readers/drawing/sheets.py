"""What can be drawn: a page of a PDF, a page of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ingestion.errors import Unreadable
from ingestion.readers.drawing.marks import CharacterBoxes, Layout
from ingestion.readers.kinds import kind_of
from ingestion.readers.ocr import engine as ocr
from ingestion.readers.ocr.frames import count_frames, frame_at
from ingestion.readers.pdf.content import opened, page_lines
from ingestion.readers.pdf.drawings import faults_of
from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.page import frame_of
from ingestion.readers.pdf.scans import frame_of_scan, lines_of_scan
from ingestion.types import ReadOptions

if TYPE_CHECKING:
    from pathlib import PurePath

    from PIL.Image import Image
    from pypdfium2 import PdfDocument

MAX_SIDE = 1600  # pixels of a drawn page's longer side
MIN_WIDTH = 64


class Sheet(Protocol):
    """A page that is open."""

    def picture(self, width: int) -> Image:
        """Draw it so many pixels wide, within bounds, in RGB."""
        ...

    def layout(self, options: ReadOptions) -> Layout:
        """Read its lines as they were read for the index."""
        ...

    @contextmanager
    def characters(self) -> Iterator[CharacterBoxes | None]:
        """Give the places of its characters, if it has any."""
        ...


@contextmanager
def sheet(name: PurePath, data: bytes, page: int) -> Iterator[Sheet]:
    """Open a page of a file.

    Raises:
        Unreadable: the file is damaged, has no such page, or is of a kind that has no pages to draw.

    """
    kind = kind_of(name, data=data)
    if kind == "pdf":
        with opened(faults_of(data).data) as document:
            _check_page(page, len(document))
            yield _PdfSheet(document, page)
    elif kind == "image":
        _check_page(page, count_frames(data))
        yield _PictureSheet(data, page)
    else:
        msg = "only pages of PDFs and pictures are drawn"
        raise Unreadable(msg)


def _check_page(page: int, count: int) -> None:
    if not 1 <= page <= count:
        msg = f"there is no page {page}: it has {count}"
        raise Unreadable(msg)


class _PdfSheet:
    def __init__(self, document: PdfDocument, page: int) -> None:
        self._document, self._page = document, page

    def picture(self, width: int) -> Image:
        page = self._document[self._page - 1]
        try:
            across, down = (max(length, 1.0) for length in frame_of(page).size)
            scale = min(max(width, MIN_WIDTH) / across, MAX_SIDE / max(across, down))
            if min(across, down) * scale < 1:
                msg = "a page too narrow to be drawn"
                raise Unreadable(msg)
            picture: Image = page.render(scale=scale).to_pil().convert("RGB")
            return picture
        finally:
            page.close()

    def layout(self, options: ReadOptions) -> Layout:
        lines = page_lines(self._document, self._page, options)
        page = self._document[self._page - 1]
        try:
            return Layout(frame_of(page), lines)
        finally:
            page.close()

    @contextmanager
    def characters(self) -> Iterator[CharacterBoxes | None]:
        page = self._document[self._page - 1]
        textpage: Any = page.get_textpage()

        def box(index: int, frame: Frame) -> Box:
            return frame.box(*textpage.get_charbox(index, loose=True))

        try:
            yield box
        finally:
            textpage.close()
            page.close()


class _PictureSheet:
    def __init__(self, data: bytes, page: int) -> None:
        self._data, self._page = data, page

    def picture(self, width: int) -> Image:
        """Draw it as it is seen, clear parts white; never larger than it is."""
        picture = ocr.on_white(frame_at(self._data, self._page - 1))
        scale = min(1.0, max(width, MIN_WIDTH) / picture.width, MAX_SIDE / max(picture.size))
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        return picture if scale == 1 else picture.resize(size)

    def layout(self, options: ReadOptions) -> Layout:
        if not (options.ocr and ocr.available()):
            return Layout(Frame(0, 0, 1, 1), [])
        reading = ocr.read_image(frame_at(self._data, self._page - 1))
        upright = frame_of_scan(reading)
        return Layout(upright.turned(upright.turn - reading.turned), lines_of_scan(reading))

    @contextmanager
    def characters(self) -> Iterator[CharacterBoxes | None]:
        yield None
