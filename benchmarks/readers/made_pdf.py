"""PDF documents with known text, made by reportlab: columns, tables with and without lines, headers and footers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from benchmarks.readers.truth import Truth, Writer, cells_of, text_of

PAGES = 4


def one_column() -> tuple[bytes, Truth]:
    """Return paragraphs under headings, a page each."""
    writer = Writer(1)
    pages = [[writer.title(), *(writer.paragraph() for _ in range(5))] for _ in range(PAGES)]
    return _document([[_heading(page[0]), *map(_paragraph, page[1:]), _break()] for page in pages]), _of_pages(pages)


def two_columns() -> tuple[bytes, Truth]:
    """Return pages of two columns; the left one is read first."""
    writer = Writer(2)
    pages = [[writer.paragraph(3) for _ in range(10)] for _ in range(PAGES)]
    return _document([[*map(_paragraph, page), _break()] for page in pages], columns=2), _of_pages(pages)


def headers_and_footers() -> tuple[bytes, Truth]:
    """Return pages under the same header and above a footer with the page's number, which are not to be read."""
    writer = Writer(3)
    title = writer.title()
    pages = [[writer.paragraph() for _ in range(5)] for _ in range(8)]

    def decorate(canvas: Any, document: Any) -> None:
        canvas.drawString(60, 800, title)
        canvas.drawString(280, 30, f"Page {document.page} of {len(pages)}")

    return _document([[*map(_paragraph, page), _break()] for page in pages], decorate=decorate), _of_pages(pages)


def ruled_table() -> tuple[bytes, Truth]:
    """Return a table with lines around its cells, over two pages, with its header on each."""
    return _with_table(Writer(4), lines=True)


def borderless_table() -> tuple[bytes, Truth]:
    """Return a table without lines."""
    return _with_table(Writer(5), lines=False)


def _with_table(writer: Writer, *, lines: bool) -> tuple[bytes, Truth]:
    from reportlab.platypus import Table

    before, table, after = writer.paragraph(), writer.table(18, 4), writer.paragraph()
    style = [("GRID", (0, 0), (-1, -1), 0.5, "black")] if lines else []
    parts = [_paragraph(before), Table(table, style=style, colWidths=110), _paragraph(after)]
    return _document([parts]), Truth("\n".join([before, text_of(table), after]), cells_of(table))


def _of_pages(pages: list[list[str]]) -> Truth:
    return Truth("\n".join(part for page in pages for part in page), pages=tuple(page[1][:40] for page in pages))


def _document(
    pages: list[list[Any]], *, columns: int = 1, decorate: Callable[[Any, Any], None] = lambda *_: None
) -> bytes:
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    file = io.BytesIO()
    width = 480 / columns
    frames = [Frame(55 + number * width, 50, width - 10, 740) for number in range(columns)]
    document = BaseDocTemplate(file, pagesize=(595, 842), invariant=1)
    document.addPageTemplates(PageTemplate(frames=frames, onPage=decorate))
    document.build([part for page in pages for part in page])
    return file.getvalue()


def _paragraph(text: str) -> Any:
    return _styled(text, "BodyText")


def _heading(text: str) -> Any:
    return _styled(text, "Heading1")


def _styled(text: str, style: str) -> Any:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph

    return Paragraph(text, getSampleStyleSheet()[style])


def _break() -> Any:
    from reportlab.platypus import PageBreak

    return PageBreak()
