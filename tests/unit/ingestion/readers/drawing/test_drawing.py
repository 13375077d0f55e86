from __future__ import annotations

import asyncio
import io
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont
from support import files, pdfs

from config.settings import IngestionSettings
from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.readers.drawing.marks import Rectangle
from ingestion.readers.drawing.page import Layouts, draw_page, page_rectangles
from ingestion.readers.drawing.painter import PagePainter
from ingestion.readers.drawing.view import View
from ingestion.readers.ocr import engine
from ingestion.readers.pictures import text as ocr
from ingestion.types import ReadOptions

needs_ocr = pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")


NUMBERS = ("one", "two", "three", "four", "five")


def view_of(data: bytes, words: str, name: str = "a.pdf", **options: Any) -> View:
    """Return the page on which words that come once stand, with them marked."""
    file = read(Path(name), data=data)
    place = file.text.index(words)
    page = bisect_right(file.pages, place)
    begin, end = [*file.pages, len(file.text)][page - 1 : page + 1]
    start = place - begin
    return View(name, page, file.text[begin:end], start, start + len(words), **options)


def marked(data: bytes, words: str) -> list[tuple[float, float, float, float]]:
    """Return the rectangles in points from the left upper corner of an A4 page."""
    found = page_rectangles(data, view_of(data, words))
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
    (found,) = page_rectangles(data, view_of(data, "cell 2 1"))
    # the page is 842 wide and 595 high in PDF's coordinates, and seen turned by a quarter
    assert abs(found.left - (500 - 32) / 595) < 0.02
    assert abs(found.top - 210 / 842) < 0.02


def test_a_page_is_drawn_with_marks_and_bounded() -> None:
    data = files.pdf("One ship.", "Another boat.")
    plain, shown = (
        Image.open(io.BytesIO(draw_page(data, view))) for view in (View("a", 2), view_of(data, "boat", name="a"))
    )
    assert plain.size == shown.size == (1000, 1415)
    yellow = [color for _, color in shown.getcolors(1 << 24) if color[2] < 200 and color[0] > 240]
    assert yellow
    assert not [color for _, color in plain.getcolors(1 << 24) if color[2] < 200 and color[0] > 240]
    huge = pdfs.drawn(lambda canvas: canvas.drawString(0, 0, "x"), size=(14_000, 14_000))
    assert max(Image.open(io.BytesIO(draw_page(huge, View("a", 1, width=9999)))).size) <= 1600


def test_what_cannot_be_drawn_says_why() -> None:
    data = files.pdf("One.")
    for arguments, reason in (
        ((data, 2), "there is no page 2"),
        ((b"# Note", 1), "only pages of PDFs and pictures"),
        ((data[:60], 1), "damaged"),
    ):
        with pytest.raises(Unreadable, match=reason):
            draw_page(arguments[0], View("a", arguments[1]))


@needs_ocr
def test_words_read_by_ocr_are_marked() -> None:
    data = pdfs.scan(["The first page."], ["Dear harbour master,", "the fee is paid."])
    view = view_of(data, "fee")
    (found,) = page_rectangles(data, view)
    assert view.page == 2
    assert 0.10 < found.left < 0.2
    assert 0.09 < found.top < 0.11
    assert found.bottom < 0.14


@needs_ocr
def test_a_scan_whose_headers_were_left_out_is_marked_where_it_was_quoted() -> None:
    pages = [["The Harbour Act, part one", f"Ships pay {word} crowns.", "All fees are due."] for word in NUMBERS]
    data = pdfs.scan(*pages)
    view = view_of(data, "four")
    assert "Act" not in view.text
    (found,) = page_rectangles(data, view)
    assert 180 / 1754 - 0.01 < found.top < found.bottom < 210 / 1754 + 0.015


def test_what_is_left_out_of_a_page_moves_no_mark() -> None:
    pages = [
        f"The Harbour Act\nThe Harbour Act says {word}.\nA {word}-well-\nknown {word} and an exam-\nple of {word}s."
        for word in NUMBERS
    ]
    data = files.pdf(*pages)
    plain, header = (page_rectangles(data, view_of(data, words)) for words in ("says five", "five and an example"))
    first = page_rectangles(files.pdf(pages[4]), view_of(files.pdf(pages[4]), "says five"))
    assert plain == first
    assert len(header) == 2


def test_a_text_that_was_read_in_another_way_is_marked_as_far_as_it_is_on_the_page() -> None:
    data = files.pdf("One ship sails.\nTwo boats row.\nThree rafts drift.")
    text = "One ship sails.\nA line that no reader finds any more.\nTwo boats row.\nThree  rafts."
    start = text.index("boats")
    assert page_rectangles(data, View("a", 1, text, start, start + 5)) == page_rectangles(data, view_of(data, "boats"))
    assert page_rectangles(data, View("a", 1, text, text.index("rafts"), len(text))) == []
    assert page_rectangles(data, View("a", 1, "", 0, 99)) == []


def test_blanks_that_were_not_kept_move_no_mark() -> None:
    data = files.pdf("One ship sails.\nTwo boats row.")
    view = view_of(data, "boats")
    for blank in ("One\nship sails.\nTwo boats row.", "One ship sails.\nTwo\nboats row.\n\n"):
        assert page_rectangles(data, replace(view, text=blank)) == page_rectangles(data, view)


WHOLE = Rectangle(0, 0, 1, 1)


def photo(kind: str, *, turned: int = 0, orientation: int = 1, before: int = 0, **options: Any) -> bytes:
    """Make a picture of a letter with one red word, turned by degrees; of a TIFF the last of several pages."""
    image = Image.new("RGB", (1240, 1754), "white")
    brush, font = ImageDraw.Draw(image), ImageFont.load_default(40)
    for number, words in enumerate((["Dear", "harbour", "master,"], ["the", "fee", "is", "paid."], ["Yours,", "Ada"])):
        x = 120.0
        for word in words:
            brush.text((x, 150 + 90 * number), word, fill="red" if word == "fee" else "black", font=font)
            x += brush.textlength(word + " ", font=font)
    image = image.rotate(-turned, expand=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pages = [pdfs.picture([f"Page {number}."], size=40) for number in range(before)] + [image]
    more = {"save_all": True, "append_images": pages[1:]} if before else {}
    return pdfs.encoded(pages[0], kind, exif=exif, **more, **options)


def reds(picture: Image.Image, place: Rectangle = WHOLE) -> int:
    """Count the red pixels in a part of a picture."""
    width, height = picture.size
    part = picture.crop((int(place[0] * width), int(place[1] * height), int(place[2] * width), int(place[3] * height)))
    return sum(count for count, (red, green, blue) in part.getcolors(1 << 24) if red > 150 and green + blue < 100)


@needs_ocr
@pytest.mark.parametrize(
    ("name", "made"),
    [
        *((f"{turned}.png", partial(photo, "PNG", turned=turned)) for turned in (0, 90, 180, 270)),
        *((f"camera-{way}.jpg", partial(photo, "JPEG", orientation=way, quality=95)) for way in (3, 6, 8)),
        ("pages.tif", partial(photo, "TIFF", before=2, compression="tiff_deflate")),
    ],
)
def test_words_of_a_picture_are_marked_where_they_are_seen(name: str, made: Callable[[], bytes]) -> None:
    data = made()
    view = view_of(data, "fee", name=name)
    plain = Image.open(io.BytesIO(draw_page(data, View(name, view.page)))).convert("RGB")
    (found,) = page_rectangles(data, view)
    assert reds(plain) > 80
    assert reds(plain, found) > 0.95 * reds(plain)
    assert (found.right - found.left) * (found.bottom - found.top) < 0.008
    assert draw_page(data, view) != draw_page(data, View(name, view.page))
    assert view.page == (3 if name == "pages.tif" else 1)


def test_pictures_are_drawn_as_they_are_seen_and_never_larger() -> None:
    for image, size in (
        (Image.new("RGBA", (300, 200), (0, 0, 0, 0)), (300, 200)),
        (Image.new("L", (4000, 1000), 255), (1000, 250)),
        (Image.new("P", (10, 5000), 0), (3, 1600)),
        (Image.new("I;16", (50, 40), 65535), (50, 40)),
        (Image.new("1", (1, 1), 1), (1, 1)),
    ):
        drawn = Image.open(io.BytesIO(draw_page(pdfs.encoded(image, "PNG"), View("a.png", 1))))
        assert (drawn.size, drawn.mode) == (size, "RGB")
        if image.mode != "P":
            assert drawn.getpixel((0, 0)) == (255, 255, 255)


def test_pictures_that_cannot_be_drawn_say_why() -> None:
    good = pdfs.encoded(Image.new("RGB", (800, 800), "red"), "PNG")
    bomb = pdfs.encoded(Image.new("1", (20_000, 20_000)), "PNG")
    for data, page, reason in (
        (good, 2, "there is no page 2"),
        (good[:60], 1, "a damaged image"),
        (bomb, 1, "more than 100 million pixels"),
        (b"II*\0" + bytes(100), 1, "a damaged image"),
    ):
        with pytest.raises(Unreadable, match=reason):
            draw_page(data, View("a.png", page))


@needs_ocr
@pytest.mark.parametrize("name", ["a.pdf", "a.png"])
def test_a_page_is_read_by_ocr_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = photo("PNG") if name == "a.png" else pdfs.scan(["the fee is paid."])
    view = view_of(data, "fee", name=name)
    readings, layouts, read_image = [], Layouts(), engine.read_image
    monkeypatch.setattr(engine, "read_image", lambda image: readings.append(1) or read_image(image))
    marked = {draw_page(data, replace(view, start=start), layouts) for start in (0, view.start, view.start + 1)}
    assert (len(marked), len(readings)) == (3, 1)
    draw_page(data, view, small := Layouts(words=3))
    draw_page(data, view, small)
    assert len(readings) == 3, "what takes more memory than there is is not kept"


@needs_ocr
def test_ocr_that_is_switched_off_leaves_a_picture_without_marks() -> None:
    data = photo("PNG")
    view = view_of(data, "fee", name="a.png")
    assert page_rectangles(data, replace(view, options=ReadOptions(ocr=False))) == []


@pytest.fixture
async def painter() -> AsyncIterator[PagePainter]:
    made = PagePainter(settings=IngestionSettings())
    yield made
    await made.aclose()


async def test_pages_are_drawn_in_another_process_which_is_replaced_when_it_is_killed(painter: PagePainter) -> None:
    data = files.pdf("One ship.")
    picture = await painter.draw(data, view_of(data, "One"))
    assert picture.startswith(b"\x89PNG")
    for child in psutil.Process().children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    assert await painter.draw(data, view_of(data, "One")) == picture
    with pytest.raises(Unreadable, match="damaged"):
        await painter.draw(b"%PDF-1.4 nothing", View("a.pdf", 1))


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
            await asyncio.wait_for(painter.draw(data, View("a.pdf", 1)), 40)
    finally:
        await painter.aclose()
