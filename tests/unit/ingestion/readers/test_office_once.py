"""Every word of a generated document comes out of its reader once, whatever the document is made of."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
import xlsxwriter
import xlwt
from hypothesis import given
from hypothesis import strategies as st
from odf import draw, style
from odf import table as odf_table
from odf import text as odf_text
from odf.opendocument import OpenDocumentPresentation, OpenDocumentSpreadsheet, OpenDocumentText
from pptx import Presentation
from pptx.util import Inches

from ingestion.readers import read

Block = tuple[str, int]  # its kind, and how many words or rows it has
Words = Callable[[], str]

BLOCKS = st.lists(
    st.tuples(st.sampled_from(["heading", "prose", "list", "table"]), st.integers(1, 4)), min_size=1, max_size=6
)
ALPHABET = "abcdefghijklmnopqrstuvwxyzäöüßéñøčąжяλ日本語"


def spelled(number: int) -> str:
    """Return a word of its own for a number."""
    return f"w{number}{ALPHABET[number % len(ALPHABET)]}x"


def written(blocks: list[Block], write: Callable[[list[tuple[str, list[str]]]], bytes]) -> tuple[bytes, list[str]]:
    count = iter(range(10_000))
    filled = [
        (kind, [spelled(next(count)) for _ in range(2 * size if kind == "table" else size)]) for kind, size in blocks
    ]
    return write(filled), [word for _, words in filled for word in words]


def as_docx(blocks: list[tuple[str, list[str]]]) -> bytes:
    document = docx.Document()
    for kind, words in blocks:
        if kind == "heading":
            document.add_heading(" ".join(words), 1)
        elif kind == "list":
            for word in words:
                document.add_paragraph(word, style="List Bullet")
        elif kind == "table":
            table = document.add_table(len(words) // 2, 2)
            for at, word in enumerate(words):
                table.cell(at // 2, at % 2).text = word
        else:
            document.add_paragraph().add_run(" ".join(words)).bold = True
    return saved(document.save)


def as_pptx(blocks: list[tuple[str, list[str]]]) -> bytes:
    deck = Presentation()
    for kind, words in blocks:
        slide = deck.slides.add_slide(deck.slide_layouts[5 if kind == "heading" else 6])
        if kind == "heading":
            slide.shapes.title.text = " ".join(words)
        elif kind == "table":
            shape = slide.shapes.add_table(len(words) // 2, 2, Inches(1), Inches(1), Inches(4), Inches(2))
            for at, word in enumerate(words):
                shape.table.cell(at // 2, at % 2).text = word
        else:
            box = slide.shapes.add_textbox(Inches(1), Inches(2), Inches(4), Inches(1))
            box.text_frame.text = ("\n" if kind == "list" else " ").join(words)
        slide.notes_slide.notes_text_frame.text = ""
    return saved(deck.save)


def as_odt(blocks: list[tuple[str, list[str]]]) -> bytes:
    document = OpenDocumentText()
    for kind, words in blocks:
        if kind == "heading":
            document.text.addElement(odf_text.H(outlinelevel=1, text=" ".join(words)))
        elif kind == "list":
            listed = odf_text.List()
            for word in words:
                item = odf_text.ListItem()
                item.addElement(odf_text.P(text=word))
                listed.addElement(item)
            document.text.addElement(listed)
        elif kind == "table":
            document.text.addElement(odf_grid(pairs(words)))
        else:
            paragraph = odf_text.P(text=words[0])
            for word in words[1:]:
                paragraph.addElement(odf_text.Span(text=f" {word}"))
            document.text.addElement(paragraph)
    return saved(document.write)


def as_odp(blocks: list[tuple[str, list[str]]]) -> bytes:
    deck = OpenDocumentPresentation()
    layout = style.PageLayout(name="P")
    deck.automaticstyles.addElement(layout)
    master = style.MasterPage(name="M", pagelayoutname=layout)
    deck.masterstyles.addElement(master)
    for _, words in blocks:
        page = draw.Page(masterpagename=master)
        for at, word in enumerate(words):
            frame = draw.Frame(width="9cm", height="1cm", x="1cm", y=f"{at + 1}cm")
            box = draw.TextBox()
            box.addElement(odf_text.P(text=word))
            frame.addElement(box)
            page.addElement(frame)
        deck.presentation.addElement(page)
    return saved(deck.write)


def as_rtf(blocks: list[tuple[str, list[str]]]) -> bytes:
    parts = [r"{\rtf1\ansi\ansicpg1252\uc1{\stylesheet{\s1 heading 1;}}"]
    for kind, words in blocks:
        coded = ["".join(char if char.isascii() else rf"\u{ord(char)}?" for char in word) for word in words]
        if kind == "table":
            rows = (rf"\trowd\cellx1\cellx2\intbl {one}\cell {two}\cell\row" for one, two in pairs(coded))
            parts.append("\n".join(rows) + r"\pard")
        elif kind == "list":
            parts += [rf"{{\listtext \'b7\tab}}{word}\par" for word in coded]
        else:
            parts.append(rf"\pard{'' if kind == 'prose' else chr(92) + 's1'} {{\b {' '.join(coded)}}}\par")
    return "\n".join([*parts, "}"]).encode()


def pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def odf_grid(rows: list[tuple[str, str]]) -> odf_table.Table:
    table = odf_table.Table(name="T")
    for row in rows:
        element = odf_table.TableRow()
        for word in row:
            cell = odf_table.TableCell(valuetype="string")
            cell.addElement(odf_text.P(text=word))
            element.addElement(cell)
        table.addElement(element)
    return table


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.docx", as_docx), ("a.pptx", as_pptx), ("a.odt", as_odt), ("a.odp", as_odp), ("a.rtf", as_rtf)],
)
@given(blocks=BLOCKS)
def test_every_word_of_a_document_comes_out_once(
    name: str, write: Callable[[list[tuple[str, list[str]]]], bytes], blocks: list[Block]
) -> None:
    data, words = written(blocks, write)
    text = read(Path(name), data=data).text
    assert Counter(word for word in text.replace("|", " ").split() if word in set(words)) == Counter(words)


def as_xlsx(rows: list[tuple[str, str]]) -> bytes:
    def write(stream: io.BytesIO) -> None:
        with xlsxwriter.Workbook(stream, {"in_memory": True}) as book:
            sheet = book.add_worksheet()
            for at, row in enumerate(rows):
                sheet.write_row(at, 0, row)

    return saved(write)


def as_xls(rows: list[tuple[str, str]]) -> bytes:
    book = xlwt.Workbook()
    sheet = book.add_sheet("S")
    for at, row in enumerate(rows):
        for column, word in enumerate(row):
            sheet.write(at, column, word)
    return saved(book.save)


def as_ods(rows: list[tuple[str, str]]) -> bytes:
    book = OpenDocumentSpreadsheet()
    book.spreadsheet.addElement(odf_grid(rows))
    return saved(book.write)


def as_csv(rows: list[tuple[str, str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
    return stream.getvalue().encode()


@pytest.mark.parametrize(
    ("name", "write"), [("a.xlsx", as_xlsx), ("a.xls", as_xls), ("a.ods", as_ods), ("a.csv", as_csv)]
)
@given(count=st.integers(1, 30), blanks=st.sets(st.integers(1, 29), max_size=3))
def test_every_value_of_a_sheet_comes_out_once_with_its_row(
    name: str, write: Callable[[list[tuple[str, str]]], bytes], count: int, blanks: set[int]
) -> None:
    values = pairs([spelled(number) for number in range(2 * count)])
    rows = [("Name", "Town"), *values]
    rows = [row for at, row in enumerate(rows) for row in ([("", ""), row] if at in blanks and at > 1 else [row])]
    sheet = read(Path(name), data=write(rows))
    assert Counter(sheet.text.split()) & Counter(word for row in values for word in row) == Counter(
        word for row in values for word in row
    )
    for start, number in sheet.rows:
        assert sheet.text[start:].startswith(f"Name: {rows[number - 1][0]}\nTown: {rows[number - 1][1]}")
    assert [number for _, number in sheet.rows] == [at for at, row in enumerate(rows, 1) if at > 1 and row[0]]
