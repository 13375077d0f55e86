from __future__ import annotations

import asyncio
import io
from bisect import bisect_right
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from support import files, pdfs

from config.settings import IngestionSettings
from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.readers.pdf.drawing import draw_page, page_rectangles
from ingestion.readers.pdf.painting import PagePainter
from ingestion.readers.pictures import text as ocr
from ingestion.types import ReadOptions

OPTIONS = ReadOptions()


def place_of(data: bytes, words: str) -> tuple[int, int, int]:
    """Return page, start and end of words that come once."""
    file = read(Path("a.pdf"), data=data)
    start = file.text.index(words)
    return bisect_right(file.pages, start), start, start + len(words)


def marked(data: bytes, words: str) -> list[tuple[float, float, float, float]]:
    """Return the rectangles in points from the left upper corner of an A4 page."""
    page, start, end = place_of(data, words)
    found = page_rectangles(data, page, start, end)
    return [(r.left * 595, r.top * 842, r.right * 595, r.bottom * 842) for r in found]


def near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(abs(a - b) < 4 for a, b in zip(one, other, strict=True))


def test_words_are_marked_where_they_stand_and_not_where_they_stand_too() -> None:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    def page(canvas: Any) -> None:
        pdfs.lines(canvas, ["ship and ship", "ship and boat"], step=40)

    data = pdfs.drawn(page)
    left = 60 + stringWidth("ship and ", "Helvetica", 10)
    width = stringWidth("boat", "Helvetica", 10)
    assert near(marked(data, "boat")[0], (left, 842 - 740 - 9, left + width, 842 - 740 + 3))
    (first, second) = marked(data, "ship\n\nship and")
    assert near(first, (left, 842 - 780 - 9, left + stringWidth("ship", "Helvetica", 10), 842 - 780 + 3))
    assert near(second, (60, 842 - 740 - 9, left - 3, 842 - 740 + 3))


def test_part_of_a_word_with_a_mended_hyphen_is_marked() -> None:
    data = files.pdf("A well-\nknown exam-\nple and a flag.")
    assert len(marked(data, "known example")) == 3 - 1
    boxes = marked(data, "own")
    assert len(boxes) == 1
    assert 72 + 8 < boxes[0][0] < 72 + 16  # behind `kn`


def test_cells_of_tables_and_turned_pages_are_marked() -> None:
    def page(canvas: Any) -> None:
        canvas.setPageRotation(90)
        for row in range(4):
            for column in range(3):
                canvas.drawString(
                    60 + 150 * column, 500 - 16 * row, f"cell {row} {column}" if row else f"head {column}"
                )

    data = pdfs.drawn(page)
    number, start, end = place_of(data, "cell 2 1")
    (found,) = page_rectangles(data, number, start, end)
    # the page is 842 wide and 595 high in PDF's coordinates, and seen turned by a quarter
    assert abs(found.left - (500 - 32) / 595) < 0.02
    assert abs(found.top - 210 / 842) < 0.02


def test_a_page_is_drawn_with_marks_and_bounded() -> None:
    data = files.pdf("One ship.", "Another boat.")
    page, start, end = place_of(data, "boat")
    plain, shown = (
        Image.open(io.BytesIO(draw_page(data, name="a", page=page, start=s, end=end, options=OPTIONS)))
        for s in (None, start)
    )
    assert plain.size == shown.size == (1000, 1415)
    yellow = [color for _, color in shown.getcolors(1 << 24) if color[2] < 200 and color[0] > 240]
    assert yellow
    assert not [color for _, color in plain.getcolors(1 << 24) if color[2] < 200 and color[0] > 240]
    huge = pdfs.drawn(lambda canvas: canvas.drawString(0, 0, "x"), size=(14_000, 14_000))
    assert (
        max(
            Image.open(
                io.BytesIO(draw_page(huge, name="a", page=1, start=None, end=None, options=OPTIONS, width=9999))
            ).size
        )
        <= 1600
    )


def test_what_cannot_be_drawn_says_why() -> None:
    data = files.pdf("One.")
    for arguments, reason in (
        ((data, 2), "there is no page 2"),
        ((b"PK", 1), "not a PDF"),
        ((data[:60], 1), "damaged"),
    ):
        with pytest.raises(Unreadable, match=reason):
            draw_page(arguments[0], name="a", page=arguments[1], start=0, end=3, options=OPTIONS)


@pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")
def test_words_read_by_ocr_are_marked() -> None:
    data = pdfs.scan(["The first page."], ["Dear harbour master,", "the fee is paid."])
    page, start, end = place_of(data, "fee")
    file = read(Path("a.pdf"), data=data)
    (found,) = page_rectangles(data, page, start, end, page_start=file.pages[page - 1])
    assert page == 2
    assert 0.10 < found.left < 0.2
    assert 0.09 < found.top < 0.11
    assert found.bottom < 0.14


@pytest.fixture
async def painter() -> AsyncIterator[PagePainter]:
    made = PagePainter(settings=IngestionSettings())
    yield made
    await made.aclose()


async def test_pages_are_drawn_in_another_process_which_is_replaced_when_it_is_killed(painter: PagePainter) -> None:
    data = files.pdf("One ship.")
    picture = await painter.draw(data, "a.pdf", 1, 0, 3, OPTIONS)
    assert picture.startswith(b"\x89PNG")
    for child in psutil.Process().children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    assert await painter.draw(data, "a.pdf", 1, 0, 3, OPTIONS) == picture
    with pytest.raises(Unreadable, match="damaged"):
        await painter.draw(b"%PDF-1.4 nothing", "a.pdf", 1, 0, 3, OPTIONS)


async def test_a_page_that_takes_too_long_is_given_up() -> None:
    content = b"q 0 0 m " + b"1 1 500 500 300 200 c 200 300 l " * 400_000 + b" B* Q"
    data = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Count 1/Kids[3 0 R]>>endobj "
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R>>endobj "
        b"4 0 obj<</Length "
        + str(len(content)).encode()
        + b">>stream\n"
        + content
        + b"\nendstream endobj trailer<</Root 1 0 R>>"
    )
    painter = PagePainter(settings=IngestionSettings(parse_timeout=1.5))
    try:
        with pytest.raises(Unreadable, match=r"longer than 1\.5 seconds"):
            await asyncio.wait_for(painter.draw(data, "a.pdf", 1, None, None, OPTIONS), 40)
    finally:
        await painter.aclose()
