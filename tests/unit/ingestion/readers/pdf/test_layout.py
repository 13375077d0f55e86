from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pdfs

from ingestion.readers import read
from ingestion.types import Extracted, ReadOptions

LEFT = [f"left line {n} tells of ships and of the men on them" for n in range(20)]
RIGHT = [f"right line {n} tells of cranes and of ropes for them" for n in range(20)]


def made(data: bytes, name: str = "a.pdf", **options: Any) -> Extracted:
    return read(Path(name), data=data, options=ReadOptions(**options))


def in_order(text: str, *parts: str) -> bool:
    places = [text.index(part) for part in parts]
    return places == sorted(places)


@pytest.mark.parametrize("by_rows", [True, False])
def test_columns_are_read_one_after_the_other_however_they_were_drawn(by_rows: bool) -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(
            60, 810, "A heading that runs across both of the columns, from the one margin to the other one"
        )
        for one, other in zip(LEFT, RIGHT, strict=True) if by_rows else ():
            number = LEFT.index(one)
            canvas.drawString(60, 780 - 13 * number, one)
            canvas.drawString(320, 780 - 13 * number, other)
        if not by_rows:
            pdfs.lines(canvas, RIGHT, x=320)
            pdfs.lines(canvas, LEFT)

    assert in_order(made(pdfs.drawn(page)).text, "A heading", *LEFT, *RIGHT)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("few", [1, 2, 3, 4])
def test_a_last_column_of_a_few_lines_is_read_after_the_long_one(few: int, head: bool) -> None:
    left, right = [*LEFT, *(f"more {line}" for line in LEFT)], RIGHT[:few]

    def page(canvas: Any) -> None:
        if head:
            pdfs.lines(canvas, ["Journal of Harbours 14"], y=815)
            pdfs.lines(canvas, ["Holm and Lind on ships"], x=420, y=815)
        pdfs.lines(canvas, left)
        pdfs.lines(canvas, right, x=320)

    text = made(pdfs.drawn(page)).text
    assert "\n".join(left) in text
    assert in_order(text, *left, *right)
    assert "\n".join(right) in text


def test_what_stands_beside_a_few_rows_of_a_table_is_no_column() -> None:
    """Neither remarks of several words at the first rows of a list, nor those further down, nor those of long rows."""

    def remarks(texts: list[str], at: int) -> Any:
        def page(canvas: Any) -> None:
            pdfs.lines(canvas, texts)
            pdfs.lines(canvas, ["was seen in the old yard", "has a mast of new oak"], x=320, y=780 - 13 * at)

        return page

    short = [f"boat {n}" for n in range(20)]
    text = made(pdfs.drawn(remarks(short, 0), remarks(LEFT, 9))).text
    assert "boat 0 was seen in the old yard\nboat 1 has a mast of new oak" in text.replace(" |", "").replace("| ", "")
    assert f"{LEFT[9]} was seen in the old yard\n{LEFT[10]} has a mast" in text


def test_three_columns_with_a_heading_between_two_bands() -> None:
    def page(canvas: Any) -> None:
        for band, top in (("upper", 780), ("lower", 480)):
            for column in range(3):
                texts = [f"{band} {column} line {n} with words" for n in range(18)]
                pdfs.lines(canvas, texts, x=50 + 175 * column, y=top)
        canvas.setFont("Helvetica-Bold", 14)
        canvas.drawString(50, 510, "A heading between the bands that is as wide as all of the columns of text")

    bands = [[f"{band} {column} line 17" for column in range(3)] for band in ("upper", "lower")]
    assert in_order(made(pdfs.drawn(page)).text, *bands[0], "A heading between", *bands[1])


def test_a_side_note_is_read_apart_from_the_text_beside_it() -> None:
    def page(canvas: Any) -> None:
        pdfs.lines(canvas, [f"main line {n} which is long and tells of the sea" for n in range(30)], step=14)
        canvas.setFont("Helvetica", 7)
        pdfs.lines(canvas, [f"side note line {n} is small" for n in range(9)], x=420, y=700, step=9)

    text = made(pdfs.drawn(page)).text
    assert "main line 7 which is long and tells of the sea\nmain line 8" in text
    assert "side note line 3 is small\nside note line 4 is small" in text


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_pages_and_turned_text_are_read_upright(turn: int) -> None:
    rows = [["Clerk", "Pay", "Since"], ["Ada Holm", "21,000.00", "2019"], ["Bo Lind", "19,500.50", "2021"]]

    def text(canvas: Any) -> None:
        canvas.translate(300, 400)
        canvas.rotate(turn)
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                canvas.drawString(90 * column, -16 * number, cell)

    def page(canvas: Any) -> None:
        canvas.setPageRotation(turn)
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                canvas.drawString(60 + 90 * column, 500 - 16 * number, cell)

    for draw in (text, page):
        assert "| Ada Holm | 21,000.00 | 2019 |\n| Bo Lind | 19,500.50 | 2021 |" in made(pdfs.drawn(draw)).text


def test_ligatures_are_letters() -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    font = Path(__import__("reportlab").__file__).parent / "fonts" / "Vera.ttf"
    pdfmetrics.registerFont(TTFont("Vera", font))

    def page(canvas: Any) -> None:
        canvas.setFont("Vera", 10)
        canvas.drawString(60, 700, "ﬂags and ﬁsh")

    assert "flags and fish" in made(pdfs.drawn(page)).text


def test_what_nobody_sees_is_left_out_and_said() -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(60, 780, "Plain words.")
        canvas.setFillColorRGB(0, 0, 0.5)
        canvas.rect(50, 735, 300, 24, fill=1)
        canvas.setFillColorRGB(1, 1, 1)
        canvas.drawString(60, 742, "White on blue.")
        canvas.drawString(60, 700, "White on white.")
        canvas.setFillColorRGB(0, 0, 0)
        canvas.drawString(700, 600, "Off the page.")
        canvas.setFont("Helvetica", 0.2)
        canvas.drawString(60, 500, "Far too small.")
        unseen = canvas.beginText(60, 400)
        unseen.setTextRenderMode(3)
        unseen.setFont("Helvetica", 10)
        unseen.textOut("Not drawn.")
        canvas.drawText(unseen)

    found = made(pdfs.drawn(page))
    assert found.text.split() == ["Plain", "words.", "White", "on", "blue."]
    assert [(warning.kind, warning.page) for warning in found.warnings] == [("hidden-left-out", 1)] * 2


def test_invisible_text_over_a_scan_is_what_ocr_has_read() -> None:
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    def page(canvas: Any) -> None:
        canvas.drawImage(ImageReader(Image.new("RGB", (60, 80), "grey")), 0, 0, *pdfs.A4)
        text = canvas.beginText(60, 700)
        text.setTextRenderMode(3)
        text.textLine("The letter of the fifth of March, as it was recognised, with " * 2)
        canvas.drawText(text)

    found = made(pdfs.drawn(page))
    assert "The letter of the fifth of March" in found.text
    assert not found.warnings


WORDS = st.text("abcdefghijklmnopqrstuvwxyzäöüéßABC0123456789.,;()", min_size=1, max_size=9)
PARAGRAPHS = st.lists(st.lists(WORDS, min_size=1, max_size=40), min_size=1, max_size=5)
CELLS = st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(PARAGRAPHS, CELLS, st.sampled_from([1, 2]))
def test_every_character_comes_out_once(paragraphs: list[list[str]], cells: list[list[str]], columns: int) -> None:
    import io

    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph

    style = getSampleStyleSheet()["BodyText"]
    buffer = io.BytesIO()
    document = BaseDocTemplate(buffer)
    width = 460 / columns
    document.addPageTemplates(
        PageTemplate(frames=[Frame(60 + (width + 15) * n, 60, width, 700) for n in range(columns)])
    )
    parts = [Paragraph(" ".join(words), style) for words in paragraphs]
    document.build([*parts, pdfs.table([["First", "Second", "Third"], *cells], pdfs.grid())])
    text = made(buffer.getvalue()).text
    written = "".join(
        char for words in [*paragraphs, *cells, ["First", "Second", "Third"]] for word in words for char in word
    )
    assert sorted(re.sub(r"[\s|-]", "", text)) == sorted(written)


def test_exponents_and_indexes_are_marked_and_ordinals_are_not() -> None:
    def page(canvas: Any) -> None:
        x = 60.0
        for text, size, rise in (
            ("about 10", 10, 0), ("24", 6, 4), (" kg of H", 10, 0), ("2", 6, -2), ("O, x", 10, 0), ("i", 6, -2),
            (" on the 5", 10, 0), ("th", 6, 4), (" day", 10, 0),
        ):  # fmt: skip
            canvas.setFont("Helvetica", size)
            canvas.drawString(x, 700 + rise, text)
            x += canvas.stringWidth(text, "Helvetica", size)

    assert made(pdfs.drawn(page)).text.strip() == "about 10^24 kg of H2O, x_i on the 5th day"


def test_an_initial_over_several_lines_leaves_them_lines() -> None:
    def page(canvas: Any) -> None:
        canvas.setFont("Helvetica", 36)
        canvas.drawString(60, 680, "T")
        canvas.setFont("Helvetica", 10)
        pdfs.lines(canvas, [f"he line {n} of a story that goes on for a while" for n in range(3)], x=90, y=703)

    text = made(pdfs.drawn(page)).text
    assert [line.count("story") for line in text.split("\n") if line] == [1, 1, 1]


def test_a_table_across_both_columns_keeps_its_rows() -> None:
    ports = [("Port", "Ships", "Tons", "Fee"), ("Arden", "31", "1 234,50", "(12)"), ("Bray", "7", "2 345,60", "(13)"),
             ("Corv", "400", "- 12", "(14)")]  # fmt: skip

    def page(canvas: Any) -> None:
        for part, top in (("upper", 780), ("lower", 500)):
            pdfs.lines(canvas, [f"{part} {line}" for line in LEFT[:9]], y=top)
            pdfs.lines(canvas, [f"{part} {line}" for line in RIGHT[:9]], x=330, y=top)
        for number, cells in enumerate(ports):
            for column, cell in enumerate(cells):
                canvas.drawString(60 + 130 * column, 600 - 13 * number, cell)

    text = made(pdfs.drawn(page)).text
    assert "| Arden | 31 | 1 234,50 | (12) |" in text
    assert in_order(text, "upper left line 8", "upper right line 0", "Port", "lower left line 0", "lower right line 8")
