from __future__ import annotations

from pathlib import Path
from typing import Any

from reportlab.lib.colors import black, darkblue, white
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Paragraph
from support import pdfs

from ingestion.readers import read

ROWS = [["Item", "2023", "2024", "Share"], ["Grain", "1,200.50", "1,300", "25.5 %"], ["Coal", "400.01", "3", "1 %"],
        ["Fish", "17", "", "0.2 %"]]  # fmt: skip
MARKDOWN = """| Item | 2023 | 2024 | Share |
| --- | --- | --- | --- |
| Grain | 1,200.50 | 1,300 | 25.5 % |
| Coal | 400.01 | 3 | 1 % |
| Fish | 17 |  | 0.2 % |"""


def text_of(data: bytes) -> str:
    return read(Path("a.pdf"), data=data).text


def test_a_ruled_table_has_its_header_and_its_empty_cells() -> None:
    assert MARKDOWN in text_of(pdfs.flowing(pdfs.table(ROWS, pdfs.grid())))


def test_a_table_ruled_across_only_or_not_at_all_is_found_by_its_columns() -> None:
    rules = [("LINEABOVE", (0, 0), (-1, 0), 1, black), ("LINEBELOW", (0, 0), (-1, 0), 1, black)]
    for style in (rules, []):
        assert MARKDOWN in text_of(pdfs.flowing(pdfs.table(ROWS, *style)))


def test_a_white_header_on_a_dark_row_is_read() -> None:
    style = [("BACKGROUND", (0, 0), (-1, 0), darkblue), ("TEXTCOLOR", (0, 0), (-1, 0), white)]
    assert MARKDOWN in text_of(pdfs.flowing(pdfs.table(ROWS, *style)))


def test_merged_cells_are_repeated_and_two_header_rows_joined() -> None:
    rows = [
        ["Berth", "Size", "", "Fee"],
        ["", "Length", "Width", ""],
        ["North", "12", "4", "90"],
        ["", "15", "5", "120"],
    ]
    spans = [("SPAN", (1, 0), (2, 0)), ("SPAN", (0, 0), (0, 1)), ("SPAN", (3, 0), (3, 1)), ("SPAN", (0, 2), (0, 3))]
    text = text_of(pdfs.flowing(pdfs.table(rows, pdfs.grid(), *spans)))
    assert "| Berth | Size Length | Size Width | Fee |" in text
    assert "| North | 12 | 4 | 90 |\n| North | 15 | 5 | 120 |" in text


def test_a_table_of_numbers_alone_has_no_header() -> None:
    text = text_of(pdfs.flowing(pdfs.table([["200.01", "1"], ["400.01", "3"], ["600.01", "5"]], pdfs.grid())))
    assert "|  |  |\n| --- | --- |\n| 200.01 | 1 |\n| 400.01 | 3 |" in text


def test_lines_within_a_cell_are_one_cell() -> None:
    style = getSampleStyleSheet()["BodyText"]
    long = "A wall at which ships lie to be loaded and unloaded, with cranes behind it and rails below them."
    from reportlab.platypus import Table

    table = Table([["Term", "Meaning"], ["Quay", Paragraph(long, style)]], colWidths=[80, 150])
    table.setStyle([pdfs.grid()])
    assert f"| Quay | {long} |" in text_of(pdfs.flowing(table))


def test_prose_lists_and_tables_of_contents_are_no_tables() -> None:
    def page(canvas: Any) -> None:
        pdfs.lines(canvas, [f"Chapter {n} of the book . . . . . . . . . . . . . . {n}" for n in range(9)])
        for n in range(9):
            canvas.drawString(60, 600 - 13 * n, f"{n}.")
            canvas.drawString(80, 600 - 13 * n, f"an item of the list that says {'more ' * n}and ends")
        pdfs.lines(canvas, ["Prose goes on from here to there and says nothing at all."] * 9, y=400)

    text = text_of(pdfs.drawn(page))
    assert "|" not in text
    assert "3. an item of the list that says more more more and ends" in text


def test_a_frame_around_prose_is_no_table() -> None:
    style = getSampleStyleSheet()["BodyText"]
    box = pdfs.table([[Paragraph("Words of a long story. " * 40, style)] * 2] * 2, pdfs.grid())  # type: ignore[list-item]
    assert "| --- |" not in text_of(pdfs.flowing(box))


def test_cells_that_touch_are_divided_at_the_line_between_them() -> None:
    def page(canvas: Any) -> None:
        canvas.grid([60, 100, 140], [700, 715, 730, 745])
        for y, (one, other) in zip(
            (733, 718, 703), (("Fee", "Berth"), ("12345678", "9876"), ("400.01", "3")), strict=True
        ):
            canvas.drawRightString(99.8, y, one)
            canvas.drawString(100.2, y, other)

    assert "| Fee | Berth |\n| --- | --- |\n| 12345678 | 9876 |\n| 400.01 | 3 |" in text_of(pdfs.drawn(page))
