from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest
from support import pdfs

from ingestion.readers import read
from ingestion.readers.ocr import engine as ocr
from ingestion.readers.pdf.drawing import page_rectangles
from ingestion.readers.pdf.streams import damaged_streams
from ingestion.types import Extracted


def made(data: bytes) -> Extracted:
    return read(Path("a.pdf"), data=data)


def at(x: float, y: float, text: str) -> str:
    return f"BT /F 10 Tf {x} {y} Td ({text}) Tj ET\n"


def said(document: Extracted) -> list[str]:
    return [warning.kind for warning in document.warnings]


def test_characters_beyond_the_first_plane_are_there_and_marked() -> None:
    data = pdfs.written(at(72, 700, "where \x01 is 5, area=\x01+3 \x02"), {1: "\U0001d465", 2: "\U0001f600"})
    text = made(data).text
    assert text.strip() == "where \U0001d465 is 5, area=\U0001d465+3 \U0001f600"
    start = text.index("+3")
    assert len(page_rectangles(data, 1, start, start + 2)) == 1


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("stability or \x1ctness", "stability or fitness"),
        ("an e\x1ecient o\x1ece", "an efficient office"),
        ("di\x1ber and \x1dow", "differ and flow"),
        ("use \x15clean, \x10so\x11", "use –clean, “so”"),
    ],
)
def test_codes_of_tex_are_letters(code: str, meaning: str) -> None:
    codes = {ord(char): char for char in code if not char.isprintable()}
    document = made(pdfs.written(at(72, 700, code), codes))
    assert document.text.strip() == meaning
    assert not document.warnings


def test_codes_that_nobody_knows_are_said() -> None:
    document = made(pdfs.written(at(72, 700, "An arrow \x01 here"), {1: "\x01"}))
    assert document.text.strip() == "An arrow \ufffd here"
    assert said(document) == ["part-unreadable"]


def test_a_fraction_is_not_one_number() -> None:
    content = at(100, 706, "400.01") + "95 703 m 140 703 l S\n" + at(132, 694, "3")
    assert made(pdfs.written(content)).text.split() == ["400.01", "3"]


def test_damaged_compressed_parts_are_said() -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(60, 700, "Words. " * 9)

    data = pdfs.drawn(page, page, compressed=True)
    assert not damaged_streams(data)
    assert said(made(data)) == []
    start = data.index(b"stream", data.index(b"FlateDecode")) + 10
    document = made(data[:start] + b"\xff\x00\xfe\x01" + data[start + 4 :])
    assert document.text.count("Words.") == 9
    assert said(document) == ["part-unreadable"]


def test_streams_without_an_end_or_with_a_wrong_checksum_are_whole() -> None:
    head, packed = b"1 0 obj << /Filter /FlateDecode >> stream\n", zlib.compress(b"words " * 99)
    assert not damaged_streams(head + packed[:-4] + b"0000\nendstream")
    assert not damaged_streams(head + packed[:-3])
    assert damaged_streams(head + b"no zlib at all\nendstream") == 1


@pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")
def test_a_scan_behind_which_nothing_readable_stands_is_read() -> None:
    picture = pdfs.picture(["The lighthouse was built in 1788", "and cost 400.01 marks."])

    def page(canvas: Any) -> None:
        from reportlab.lib.utils import ImageReader

        canvas.drawImage(ImageReader(picture), 0, 0, *pdfs.A4)
        text = canvas.beginText(60, 700)
        text.setTextRenderMode(3)
        text.textOut("~ ^ ,")
        canvas.drawText(text)

    document = made(pdfs.drawn(page))
    assert "1788" in document.text
    assert "400.01" in document.text


def test_a_list_shows_what_is_chosen_and_a_password_is_not_read() -> None:
    fields = [
        "/FT /Ch /Ff 131072 /T (land) /Opt [[(DE) (Germany)] [(FR) (France)]] /V (FR) /Rect [150 690 300 710]",
        "/FT /Tx /Ff 8192 /T (password) /V (hunter2) /Rect [150 650 300 670]",
    ]
    document = made(pdfs.written(at(72, 696, "Country") + at(72, 656, "Password"), fields=fields))
    assert document.text.split() == ["Country", "France", "Password"]
