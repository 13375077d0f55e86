"""PDF, with PDFium, the engine of Chrome: fast, maintained, and hardened against hostile files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.types import Extracted, Heading, ReadOptions

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD in fpdfview.h
_IMAGE = 3  # FPDF_PAGEOBJ_IMAGE in fpdf_edit.h
_MAX_HEADINGS = 5000
_BROKEN_WORD = re.compile("(?<=[^\\W\\d_])(?:[\x02\ufffe](?:\r?\n)?|-\r?\n)(?=[^\\W\\d_])")
_SENTENCE_END = (".", "!", "?", ":", "。", "\uff01", "\uff1f")


def read_pdf(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a PDF with the offsets of its pages; bookmarks become headings."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(data)
    except PdfiumError as exc:
        # PDFium's error code is that of the last failure, perhaps of another file: check further
        encrypted = getattr(exc, "err_code", None) == _WRONG_PASSWORD and b"/Encrypt" in data
        msg = "an encrypted PDF; remove its password first" if encrypted else "a damaged PDF, or one without pages"
        raise Unreadable(msg) from exc
    try:
        return _read(document, name)
    except PdfiumError as exc:
        msg = "a damaged PDF"
        raise Unreadable(msg) from exc
    finally:
        document.close()


def _read(document: PdfDocument, name: PurePath) -> Extracted:
    texts = [_page_text(document, index) for index in range(len(document))]
    letters = sum(len("".join(text.split())) for text in texts)
    if not texts:
        msg = "a PDF without pages"
        raise Unreadable(msg)
    if letters < 8 * len(texts) and _has_images(document):
        msg = "a scanned PDF without text; run OCR over it first, with ocrmypdf say"
        raise Unreadable(msg)
    text, pages = _joined(texts)
    title = one_line(document.get_metadata_dict().get("Title") or "") or name_as_title(name)
    headings = tuple(sorted(_bookmarks(document, text, pages), key=lambda heading: heading.offset))
    return Extracted(text, title=title, headings=headings, pages=pages)


def _page_text(document: PdfDocument, index: int) -> str:
    page = document[index]
    try:
        textpage = page.get_textpage()
        try:
            text = _BROKEN_WORD.sub(_mend, textpage.get_text_bounded())
        finally:
            textpage.close()
    finally:
        page.close()
    return clean(text.replace("\x02", "-").replace("\ufffe", "-")).strip()


def _mend(match: re.Match[str]) -> str:
    """Join a word hyphenated at a line end; before a capital letter the hyphen is kept."""
    return "-" if match.string[match.end()].isupper() else ""


def _joined(texts: list[str]) -> tuple[str, tuple[int, ...]]:
    """Join the pages; a page that ends within a sentence continues on the next."""
    parts: list[str] = []
    pages: list[int] = []
    length = 0
    for text in texts:
        pages.append(length)
        part = text + ("\n\n" if text.endswith(_SENTENCE_END) else "\n")
        parts.append(part)
        length += len(part)
    return "".join(parts), tuple(pages)


def _has_images(document: PdfDocument) -> bool:
    for index in range(min(len(document), 20)):
        page = document[index]
        try:
            if next(page.get_objects(filter=[_IMAGE], max_depth=2), None) is not None:
                return True
        finally:
            page.close()
    return False


def _bookmarks(document: PdfDocument, text: str, pages: tuple[int, ...]) -> Iterator[Heading]:
    """Yield the bookmarks, each at its text on its page, else at the beginning of the page."""
    for count, bookmark in enumerate(document.get_toc(max_depth=6)):
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        title = one_line(bookmark.get_title() or "", limit=200)
        if count >= _MAX_HEADINGS or page is None or not 0 <= page < len(pages) or not title:
            continue
        end = pages[page + 1] if page + 1 < len(pages) else len(text)
        found = text.find(title, pages[page], end)
        yield Heading(max(found, pages[page]), bookmark.level + 1, title)
