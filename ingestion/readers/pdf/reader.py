"""Reads a PDF: its text with the offsets and names of its pages, its bookmarks as headings, and what is not in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.ocr import engine as ocr
from ingestion.readers.pdf.content import MAX_PAGES, Content, Text, compose, joined, opened, read_content
from ingestion.readers.pdf.outline import bookmarks_of, labels_of, title_of
from ingestion.readers.pdf.scans import ocr_warnings, pages_named
from ingestion.readers.pdf.streams import damaged_streams
from ingestion.types import Extracted, ReadOptions, ReadWarning


def read_pdf(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a PDF with the offsets of its pages; bookmarks become headings.

    Raises:
        Unreadable: it is damaged or encrypted, or has nothing but pictures that are not read.

    """
    with opened(data) as document:
        content = read_content(document, options)
        composed = compose(content, language=options.language)
        if not any(page.strip() for page in composed.pages) and content.textless:
            raise Unreadable(_only_pictures(options))
        text, pages = joined(composed.pages)
        headings = sorted(bookmarks_of(document, text, pages), key=lambda heading: heading.offset)
        return Extracted(
            text,
            title=title_of(document, name),
            headings=tuple(headings),
            pages=pages,
            labels=labels_of(document)[: len(pages)],
            warnings=(*_warnings(content, composed, options), *_damaged(data)),
        )


def _only_pictures(options: ReadOptions) -> str:
    if not options.ocr:
        return "a scanned PDF without text, and reading by OCR is switched off"
    if not ocr.available():
        return f"a scanned PDF without text; {ocr.INSTALL}"
    return "a PDF of pictures in which no text was found"


def _warnings(content: Content, composed: Text, options: ReadOptions) -> Iterator[ReadWarning]:
    if content.textless:
        pages = pages_named(content.textless)
        page = content.textless[0] if len(content.textless) == 1 else None
        yield ReadWarning("pages-without-text", f"{pages} without text: {_why_textless(options)}", page)
    yield from ocr_warnings(content.scores)
    if content.pictures:
        yield ReadWarning("picture-not-read", f"pictures on {pages_named(content.pictures)} were not read by OCR")
    yield from _counted("hidden-left-out", "invisible text", content.hidden)
    yield from _counted("hidden-left-out", "text off the page", content.outside)
    yield from _counted("part-unreadable", "characters whose font does not say what they are", content.lost)
    if content.damaged:
        yield ReadWarning("part-unreadable", f"damaged: {pages_named(content.damaged)}")
    if composed.dropped:
        detail = f"{composed.dropped} headers, footers and page numbers that pages repeat were left out"
        yield ReadWarning("boilerplate-left-out", detail)
    if content.left:
        yield ReadWarning("truncated", f"{content.left} pages after page {MAX_PAGES} were not read")


def _damaged(data: bytes) -> Iterator[ReadWarning]:
    if count := damaged_streams(data):
        yield ReadWarning("part-unreadable", f"damaged: {count} of its compressed parts; what they draw is not there")


def _why_textless(options: ReadOptions) -> str:
    if not options.ocr:
        return "reading by OCR is switched off"
    if not ocr.available():
        return ocr.INSTALL
    return "OCR found none there, or its limit of pages or seconds was reached"


def _counted(kind: str, what: str, counts: Mapping[int, int]) -> Iterator[ReadWarning]:
    if counts:
        page = next(iter(counts)) if len(counts) == 1 else None
        yield ReadWarning(kind, f"{what} on {pages_named(counts)}", page)  # type: ignore[arg-type]
