"""Sheets and slides with what people make of them, written by other libraries than ours."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import xlsxwriter
import xlwt
from PIL import Image
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.types import Extracted, ReadOptions

OPEN = ReadOptions(hidden=True)


def workbook(fill: Callable[[xlsxwriter.Workbook], None]) -> bytes:
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream, {"in_memory": True}) as book:
        fill(book)
    return stream.getvalue()


def raw_workbook(sheet: str) -> bytes:
    stream = io.BytesIO()
    main = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns:r="{main}"><sheets><sheet name="S" r:id="r1"/><sheet name="T" r:id="r2"/></sheets>'
            "</workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            '<Relationships><Relationship Id="r1" Type="x/worksheet" Target="worksheets/a.xml"/></Relationships>',
        )
        archive.writestr("xl/worksheets/a.xml", f"<worksheet>{sheet}</worksheet>")
    return stream.getvalue()


def kinds(document: Extracted) -> set[str]:
    return {warning.kind for warning in document.warnings}


def test_a_report_has_its_title_two_header_rows_and_totals() -> None:
    def fill(book: xlsxwriter.Workbook) -> None:
        sheet, euro = book.add_worksheet("Report"), book.add_format({"num_format": "#,##0.00 [$€-407]"})
        sheet.merge_range("A1:E1", "Annual figures")
        sheet.write("A3", "Region")
        sheet.merge_range("B3:C3", "2024")
        sheet.merge_range("D3:E3", "2025")
        sheet.write_row("A4", ["", "Sales", "Cost", "Sales", "Cost"])
        sheet.write_row("A5", ["North", 1.5, 2, 3, 4], euro)
        sheet.write_row("A6", ["South", 5, 6, 7, 8], euro)
        sheet.write("A8", "Total")
        sheet.write_formula("B8", "=SUM(B5:B6)", euro, 6.5)
        sheet.insert_textbox("H2", "A box says hello")

    report = read(Path("a.xlsx"), data=workbook(fill))
    assert [heading.text for heading in report.headings] == ["Report", "Annual figures"]
    assert "Region: North\n2024 Sales: 1.50 €\n2024 Cost: 2.00 €\n2025 Sales: 3.00 €" in report.text
    assert "Region: Total\n2024 Sales: 6.50 €" in report.text
    assert report.text.endswith("A box says hello")
    assert [number for _, number in report.rows] == [5, 6, 8]


def test_defined_tables_have_their_name_and_bold_or_filtered_rows_are_headers() -> None:
    def fill(book: xlsxwriter.Workbook) -> None:
        columns = [{"header": "Ulla"}, {"header": "Viggo"}]
        rows = [["Kelm", "Ost"], ["Ulm", "Bonn"]]
        book.add_worksheet("A").add_table("B3:C5", {"name": "Fleet", "columns": columns, "data": rows})
        bold = book.add_worksheet("B")
        bold.write_row(0, 0, ["Ulla", "Viggo"], book.add_format({"bold": True}))
        bold.write_row(1, 0, rows[0])
        filtered = book.add_worksheet("C")
        for at, row in enumerate([["Ulla", "Viggo"], *rows]):
            filtered.write_row(at, 0, row)
        filtered.autofilter("A1:B3")

    found = read(Path("a.xlsx"), data=workbook(fill))
    assert [heading.text for heading in found.headings] == ["A", "Fleet", "B", "C"]
    assert found.text.count("Ulla: Kelm\nViggo: Ost") == 3


def test_the_name_of_a_column_without_values_is_kept_once_below_the_rows() -> None:
    rows = [
        ["Site", "Visits", "", "Note: figures are provisional", "Remarks"],
        ["Bergen", 5, "", "", ""],
        ["Oslo", 7],
        [],
        ["Total", 12],
        [],
        ["Boat", "Berth"],
        ["Terne", 3],
        ["Havfrue", 4],
    ]

    def fill(book: xlsxwriter.Workbook) -> None:
        sheet = book.add_worksheet("S")
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)

    note = "Without values: Note: figures are provisional; Remarks"
    text = read(Path("a.xlsx"), data=workbook(fill)).text
    assert text.index("Site: Total\nVisits: 12") < text.index(note) < text.index("Boat: Terne\nBerth: 3")
    assert text.count("Without values") == 1
    separated = "\n".join(",".join(map(str, row)) for row in rows[:3])
    assert read(Path("a.csv"), data=separated.encode()).text.endswith(f"Site: Oslo\nVisits: 7\n\n{note}")


def test_a_column_with_a_value_far_down_or_with_the_name_of_another_is_not_said_to_have_none() -> None:
    rows = [["Site", "Visits", "Visits", "Remarks"], *([f"Site {n}", n] for n in range(500)), ["Vik", 3, "", "closed"]]
    text = read(Path("a.csv"), data="\n".join(",".join(map(str, row)) for row in rows).encode()).text
    assert text.endswith("Site: Vik\nVisits: 3\nRemarks: closed")


def test_hidden_rows_and_columns_are_said_or_read() -> None:
    def fill(book: xlsxwriter.Workbook) -> None:
        sheet = book.add_worksheet()
        for at, row in enumerate([["Name", "Code", "Age"], ["Ada", "x9", 3], ["Bob", "x8", 4]]):
            sheet.write_row(at, 0, row)
        sheet.set_column("B:B", None, None, {"hidden": True})
        sheet.set_row(2, None, None, {"hidden": True})

    data = workbook(fill)
    closed = read(Path("a.xlsx"), data=data)
    assert closed.text.endswith("Name: Ada\nAge: 3")
    assert kinds(closed) == {"hidden-left-out"}
    opened = read(Path("a.xlsx"), data=data, options=OPEN)
    assert opened.text.endswith("Name: Bob\nCode: x8\nAge: 4")
    assert kinds(opened) == set()


def test_a_sheet_without_references_with_odd_ones_or_cut_off_is_read_as_far_as_it_goes() -> None:
    def cell(text: str) -> str:
        return f'<c t="inlineStr"><is><t>{text}</t></is></c>'

    rows = f"<row>{cell('Name')}{cell('Town')}</row><row>{cell('Ada')}{cell('Ulm')}</row>"
    cut = read(Path("a.xlsx"), data=raw_workbook(f'<sheetData>{rows}<row><c r="ZZZZ9" s="77"'))
    assert cut.text == "# S\n\nName: Ada\nTown: Ulm"
    assert len([warning for warning in cut.warnings if warning.kind == "part-unreadable"]) == 2
    odd = '<row><c t="s"><v>99</v></c><c><v>1e999</v></c></row>'
    assert "Town: 1e999" in read(Path("a.xlsx"), data=raw_workbook(f"<sheetData>{rows}{odd}</sheetData>")).text


def test_a_sheet_too_wide_is_cut_and_said() -> None:
    cells = "".join(f'<c t="str"><v>c{at}</v></c>' for at in range(1500))
    wide = read(Path("a.xlsx"), data=raw_workbook(f"<sheetData><row>{cells}</row></sheetData>"))
    assert "c999" in wide.text
    assert "c1000" not in wide.text
    assert "truncated" in kinds(wide)


def test_an_old_workbook_is_read_as_it_is_shown() -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("Old")
    for at, name in enumerate(["Who", "Share", "Code", "Born"]):
        sheet.write(0, at, name, xlwt.easyxf("font: bold on"))
    sheet.write_merge(1, 2, 0, 0, "Ada")
    sheet.write(1, 1, 0.255, xlwt.easyxf(num_format_str="0.0%"))
    sheet.write(1, 2, 123, xlwt.easyxf(num_format_str="00000"))
    sheet.write(1, 3, datetime(2026, 3, 5), xlwt.easyxf(num_format_str="DD.MM.YYYY"))  # noqa: DTZ001
    sheet.write(2, 1, 0.5)
    book.add_sheet("Secret").visibility = 1
    stream = io.BytesIO()
    book.save(stream)
    found = read(Path("a.xls"), data=stream.getvalue())
    assert found.text == "# Old\n\nWho: Ada\nShare: 25.5%\nCode: 00123\nBorn: 05.03.2026\n\nWho: Ada\nShare: 0.5"
    assert kinds(found) == {"hidden-left-out"}
    with pytest.raises(Unreadable, match="an old Office file"):
        read(Path("a.xls"), data=stream.getvalue()[:2000])


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        ("WordDocument", "an old Word file; save it as .docx"),
        ("PowerPoint Document", "an old PowerPoint file; save it as .pptx"),
        ("EncryptedPackage", "an encrypted Office file; remove its password first"),
    ],
)
def test_other_old_files_are_named_for_what_they_are(stream: str, reason: str) -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + stream.encode("utf-16-le") + bytes(500)
    with pytest.raises(Unreadable, match=reason):
        read(Path("a.xyz"), data=data)


def test_slides_are_read_from_the_top_left_with_tables_charts_and_notes() -> None:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    for text, left, top in [("right", 5, 2), ("left", 1, 2.05), ("top", 3, 0.1)]:
        slide.shapes.add_textbox(Inches(left), Inches(top), Inches(1), Inches(1)).text_frame.text = text
    slide.shapes.title.text = "Sales"
    grid = slide.shapes.add_table(3, 2, Inches(1), Inches(3), Inches(4), Inches(1)).table
    for at, text in enumerate(["Name", "Pier", "Ada", "North", "Bob", ""]):
        grid.cell(at // 2, at % 2).text = text
    grid.cell(1, 1).merge(grid.cell(2, 1))
    chart = CategoryChartData()
    chart.categories = ["East", "West"]
    chart.add_series("Q1", (1.1, None))
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, Inches(1), Inches(5), Inches(4), Inches(1), chart)
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    slide.shapes.add_picture(picture, Inches(1), Inches(6))
    slide.notes_slide.notes_text_frame.text = "Be brief."
    stream = io.BytesIO()
    deck.save(stream)
    found = read(Path("a.pptx"), data=stream.getvalue())
    order = ["# Sales", "top", "left", "right", "| Bob | North |", "| East | 1.1 |", "Notes: Be brief."]
    places = [found.text.index(text) for text in order]
    assert places == sorted(places)
    assert "picture-not-read" in kinds(found)


def test_what_most_slides_repeat_is_read_once() -> None:
    deck = Presentation()
    for number in range(4):
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        slide.shapes.add_textbox(Inches(1), Inches(7), Inches(4), Inches(1)).text_frame.text = "Confidential"
        slide.shapes.add_textbox(Inches(1), Inches(1), Inches(4), Inches(1)).text_frame.text = f"Own {number}"
    stream = io.BytesIO()
    deck.save(stream)
    found = read(Path("a.pptx"), data=stream.getvalue())
    assert found.text.count("Confidential") == 1
    assert [found.text[at:].split("\n")[0] for at in found.pages] == [f"Own {number}" for number in range(4)]
    assert kinds(found) == {"boilerplate-left-out"}


@pytest.mark.parametrize("part", ["ppt/slides/slide2.xml", "ppt/presentation.xml"])
def test_a_deck_without_one_of_its_parts_is_read_without_it(part: str) -> None:
    deck = Presentation()
    for number in range(3):
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = f"Slide called {number}"
    stream, left = io.BytesIO(), io.BytesIO()
    deck.save(stream)
    with zipfile.ZipFile(stream) as whole, zipfile.ZipFile(left, "w") as archive:
        for name in whole.namelist():
            if name != part:
                archive.writestr(name, whole.read(name))
    found = read(Path("a.pptx"), data=left.getvalue())
    assert len(found.pages) == 3
    assert "Slide called 0" in found.text
    assert "Slide called 2" in found.text
