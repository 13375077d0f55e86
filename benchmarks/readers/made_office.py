"""DOCX, PPTX and XLSX documents with known text, made by the usual writer libraries."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

from benchmarks.readers.truth import Cell, Truth, Writer, cells_of, text_of


def document() -> tuple[bytes, Truth]:
    """Return a DOCX with headings, a list, a table and formatted runs."""
    import docx

    writer, file = Writer(11), docx.Document()
    said: list[str] = []
    for _ in range(3):
        said += [writer.title(), writer.paragraph(), *(writer.sentence(5) for _ in range(3))]
        file.add_heading(said[-5], 1)
        file.add_paragraph(said[-4])
        for item in said[-3:]:
            file.add_paragraph(item, style="List Bullet")
    table = writer.table(8, 4)
    _fill(file.add_table(len(table), 4), table)
    said += [text_of(table), writer.sentence()]
    for number, word in enumerate(said[-1].split(" ")):
        run = (file.paragraphs[-1] if number else file.add_paragraph()).add_run(f"{' ' * bool(number)}{word}")
        run.bold, run.italic = number % 3 == 1, number % 3 == 2
    return _saved(file), Truth("\n".join(said), cells_of(table))


def merged_cells() -> tuple[bytes, Truth]:
    """Return a DOCX whose first column is merged over two rows each."""
    import docx

    writer, file = Writer(12), docx.Document()
    table = writer.table(6, 4)
    shown = file.add_table(len(table), 4)
    _fill(shown, table)
    for row in range(1, len(table), 2):
        shown.cell(row + 1, 0).text = ""
        shown.cell(row, 0).merge(shown.cell(row + 1, 0)).text = table[row][0]
        table[row + 1][0] = table[row][0]
    return _saved(file), Truth(cells=cells_of(table))


def slides() -> tuple[bytes, Truth]:
    """Return a PPTX with titles, bullets, a table, and notes."""
    from pptx import Presentation

    writer, deck = Writer(13), Presentation()
    said, pages = [], []
    for _ in range(5):
        title, items, notes = writer.title(), [writer.sentence(6) for _ in range(3)], writer.sentence()
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(items)
        slide.notes_slide.notes_text_frame.text = notes
        said += [title, *items, notes]
        pages.append(items[1])
    table = writer.table(5, 3)
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = writer.title()
    _fill(slide.shapes.add_table(len(table), 3, 914400, 1828800, 6096000, 1828800).table, table)
    said += [slide.shapes.title.text, text_of(table)]
    return _saved(deck), Truth("\n".join(said), cells_of(table), (*pages, table[1][0]))


def sheet() -> tuple[bytes, Truth]:
    """Return an XLSX of two sheets, a plain table each."""
    writer, book = Writer(14), _book()
    tables = [writer.table(12, 5), writer.table(9, 4)]
    for table in tables:
        page = book.create_sheet(writer.word())
        for row in table:
            page.append(row)
    return _saved(book), Truth(
        "\n".join(map(text_of, tables)), tuple(cell for table in tables for cell in cells_of(table))
    )


def odd_sheet() -> tuple[bytes, Truth]:
    """Return an XLSX with titles above a table whose names are years, a second table below it, and formatted values."""
    writer, book = Writer(15), _book()
    page = book.create_sheet("Figures")
    first, second = writer.table(4, 4), writer.table(3, 3)
    first[0][1:] = ["2023", "2024", "2025"]
    for row in ([writer.title()], [], *first, [], *second):
        page.append([_number(value) for value in row])
    page.append([])
    page.append(["Day", "Share", "Code"])
    page.append([dt.date(2026, 3, 5), 0.255, 123])
    for cell, form in zip(page[page.max_row], ("DD.MM.YYYY", "0.0%", "00000"), strict=False):
        cell.number_format = form
    shown = (Cell("Day", "05.03.2026"), Cell("Share", "25.5%"), Cell("Code", "00123"))
    return _saved(book), Truth(cells=(*cells_of(first), *cells_of(second), *shown))


def _number(value: str) -> object:
    return float(value) if "." in value else int(value) if value.isdigit() else value


def _book() -> Any:
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.worksheets[0])
    return book


def _fill(shown: Any, table: list[list[str]]) -> None:
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            shown.cell(row, column).text = value


def _saved(file: Any) -> bytes:
    out = io.BytesIO()
    file.save(out)
    return out.getvalue()
