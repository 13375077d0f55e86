"""OCR, where its extra is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import files, pdfs

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.readers.pictures import text as ocr
from ingestion.types import Extracted, ReadOptions

pytestmark = pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")

LETTER = ["Dear harbour master,", "the fee of 1,200.50 crowns is paid.", "Yours, Ada Holm"]


def made(data: bytes, name: str, **options: Any) -> Extracted:
    return read(Path(name), data=data, options=ReadOptions(**options))


def test_a_picture_is_a_document() -> None:
    letter = made(pdfs.encoded(pdfs.picture(LETTER), "PNG"), "letter.png")
    assert letter.text.split("\n")[0] == LETTER[0]
    assert "1,200.50 crowns" in letter.text
    assert (letter.title, letter.pages) == ("letter", (0,))
    assert [warning.kind for warning in letter.warnings] == ["read-by-ocr"]


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_scan_that_lies_on_its_side_is_read(turned: int) -> None:
    text = made(pdfs.encoded(pdfs.picture(LETTER * 2, turned=turned), "JPEG"), "a.jpg").text
    assert "harbour master" in text
    assert "Ada Holm" in text


def test_a_crooked_scan_keeps_its_lines() -> None:
    text = made(pdfs.encoded(pdfs.picture(LETTER * 3, skew=4), "PNG"), "a.png").text
    assert text.count("1,200.50 crowns is paid.") == 3


def test_a_photo_is_turned_as_its_camera_says() -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    photo = pdfs.picture(LETTER, turned=270)
    assert "harbour master" in made(pdfs.encoded(photo, "JPEG", exif=exif), "a.jpg").text


def test_a_tiff_has_pages() -> None:
    pages = [pdfs.picture([f"This is page {word}."], size=40) for word in ("one", "two", "three")]
    data = pdfs.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_deflate")
    fax = made(data, "a.tif")
    assert [fax.text[start : start + 18] for start in fax.pages] == [
        "This is page one.\n",
        "This is page two.\n",
        "This is page three",
    ]
    short = made(data, "a.tif", ocr_pages=2)
    assert [warning.kind for warning in short.warnings] == ["pages-without-text", "read-by-ocr"]


def test_columns_of_a_scan_are_read_one_after_the_other() -> None:
    from PIL import ImageDraw, ImageFont

    image = pdfs.picture([])
    brush, font = ImageDraw.Draw(image), ImageFont.load_default(24)
    for side, x in (("left", 90), ("right", 650)):
        for number in range(6):
            brush.text((x, 200 + 40 * number), f"{side} line {number} tells of ships and men", fill="black", font=font)
    text = made(pdfs.encoded(image, "WEBP", lossless=True), "a.webp").text
    assert text.index("left line 5") < text.index("right line 0")


def test_scanned_pages_among_others_are_read() -> None:
    def page(canvas: Any) -> None:
        from reportlab.lib.utils import ImageReader

        canvas.drawImage(ImageReader(pdfs.picture(LETTER)), 0, 0, *pdfs.A4)
        canvas.drawString(500, 20, "A-17")

    file = made(
        pdfs.drawn(lambda canvas: canvas.drawString(60, 700, "A page of text. It has some words."), page), "a.pdf"
    )
    second = file.text[file.pages[1] :]
    assert "1,200.50 crowns" in second
    assert second.count("A-17") == 1
    assert file.warnings[0].detail.startswith("page 2 read by OCR")


def test_pictures_that_are_bombs_or_damaged_are_refused() -> None:
    from PIL import Image

    bomb = pdfs.encoded(Image.new("1", (20_000, 20_000)), "PNG")
    good = pdfs.encoded(pdfs.picture(LETTER), "PNG")
    for data, reason in (
        (bomb, "more than 100 million pixels"),
        (good[: len(good) // 2], "a damaged image"),
        (good[:40], "a damaged image"),
        (b"II*\0" + bytes(100), "a damaged image"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(10), "a damaged image"),
    ):
        with pytest.raises(Unreadable, match=reason):
            made(data, "a.png")


def test_a_picture_without_text_says_so() -> None:
    with pytest.raises(Unreadable, match="there is no text in it"):
        made(files.ONE_PIXEL_PNG, "a.png")
    with pytest.raises(Unreadable, match="switched off"):
        made(files.ONE_PIXEL_PNG, "a.png", ocr=False)


def test_noise_ends_in_bounded_time() -> None:
    import random

    from PIL import Image

    noise = Image.frombytes("L", (1500, 1500), random.Random(7).randbytes(1500 * 1500))  # noqa: S311
    with pytest.raises(Unreadable):
        made(pdfs.encoded(noise, "PNG"), "a.png")


def test_other_readers_read_pictures_by_their_bytes() -> None:
    text, confidence = ocr.read_picture(pdfs.encoded(pdfs.picture(LETTER), "PNG"))
    assert LETTER[0] in text
    assert confidence > 0.8


def test_pictures_beside_text_are_read_if_wanted_and_else_said() -> None:
    def page(canvas: Any) -> None:
        from reportlab.lib.utils import ImageReader

        canvas.drawString(60, 780, "A page of text that has a picture below, with a letter in it.")
        canvas.drawImage(ImageReader(pdfs.picture(LETTER, size=40).crop((0, 0, 1240, 500))), 60, 400, 480, 194)

    data = pdfs.drawn(page)
    plain = made(data, "a.pdf")
    assert "harbour master" not in plain.text
    assert [warning.kind for warning in plain.warnings] == ["picture-not-read"]
    read_too = made(data, "a.pdf", pictures=True)
    assert read_too.text.index("A page of text") < read_too.text.index("harbour master")
    assert [warning.kind for warning in read_too.warnings] == ["read-by-ocr"]


def test_a_bitmap_and_a_table_in_a_scan_are_read() -> None:
    from PIL import ImageDraw, ImageFont

    image = pdfs.picture([])
    brush, font = ImageDraw.Draw(image), ImageFont.load_default(30)
    for row, cells in enumerate((("Item", "Count", "Price"), ("Rope", "21", "49.50"), ("Anchor", "10", "1,200.00"))):
        for column, cell in enumerate(cells):
            brush.text((120 + 350 * column, 200 + 60 * row), cell, fill="black", font=font)
    text = made(pdfs.encoded(image, "BMP"), "a.bmp").text
    assert "| Item | Count | Price |\n| --- | --- | --- |\n| Rope | 21 | 49.50 |\n| Anchor | 10 | 1,200.00 |" in text
    with pytest.raises(Unreadable, match="not an image of a kind that is read"):
        made(b"just text", "a.bmp")
