"""Pictures in pages, books and mails: read where that is set, else said; never fetched, never looked for beside."""

from __future__ import annotations

import base64
import io
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from ingestion.readers import read
from ingestion.readers.ocr import engine
from ingestion.types import ReadOptions

WANTED = ReadOptions(pictures=True)
needs_ocr = pytest.mark.skipif(not engine.available(), reason="the extra ocr is not installed")


def picture(text: str) -> bytes:
    image = Image.new("RGB", (900, 120), "white")
    ImageDraw.Draw(image).text((20, 30), text, fill="black", font=ImageFont.load_default(48))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


SLUICE, WEIR = picture("Sluice gate number nine"), picture("Weir keeper Olsen")


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def page(*images: str) -> bytes:
    return f"<html><body><h1>Locks</h1><p>Before. {''.join(images)} After.</p></body></html>".encode()


def book(chapter: str, **pictures: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="text/a.xhtml" '
            'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>',
        )
        archive.writestr("OEBPS/text/a.xhtml", f"<html><body><h1>One</h1>{chapter}</body></html>")
        for name, data in pictures.items():
            archive.writestr(f"OEBPS/images/{name}.png", data)
    return buffer.getvalue()


def kinds(found) -> list[str]:
    return [warning.kind for warning in found.warnings]


@needs_ocr
def test_a_picture_in_a_page_is_read_where_it_stands() -> None:
    found = read(Path("a.html"), data=page(f'<img alt="A gate" src="{uri(SLUICE)}">'), options=WANTED)
    assert found.text.split("\n\n") == ["# Locks", "Before. A gate", "Sluice gate number nine", "After."]
    assert kinds(found) == ["read-by-ocr"]


def test_without_the_setting_pictures_in_a_page_are_said_and_their_alternative_text_stays() -> None:
    data = page(f'<img alt="A gate" src="{uri(SLUICE)}"><img src="{uri(SLUICE)}"><img src="{uri(WEIR)}">')
    found = read(Path("a.html"), data=data)
    assert "A gate" in found.text
    assert [(warning.kind, warning.detail[:14]) for warning in found.warnings] == [
        ("picture-not-read", "2 pictures are")
    ]


def test_pages_without_pictures_of_their_own_are_not_warned_of() -> None:
    spacer = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    found = read(Path("a.html"), data=page('<img src="https://example.org/x.png">', f'<img src="{spacer}">'))
    assert found.warnings == ()


@needs_ocr
def test_pictures_elsewhere_are_neither_fetched_nor_opened_and_said(tmp_path: Path) -> None:
    (tmp_path / "beside.png").write_bytes(SLUICE)
    addresses = ["beside.png", str(tmp_path / "beside.png"), (tmp_path / "beside.png").as_uri(), "http://[::1]:9/x.png"]
    data = page(*[f'<img src="{address}">' for address in addresses])
    (tmp_path / "a.html").write_bytes(data)
    found = read(tmp_path / "a.html", data=data, options=WANTED)
    assert "Sluice" not in found.text
    assert [warning.detail[:14] for warning in found.warnings] == ["4 pictures are"]


@needs_ocr
def test_pictures_in_a_book_are_read_each_once() -> None:
    chapter = (
        '<p><img src="../images/a.png"/></p><svg><image xlink:href="../images/b.png"/></svg>'
        '<p><img src="../images/a.png"/></p><p><img alt="x" src="../../../etc/passwd"/></p>'
    )
    found = read(Path("a.epub"), data=book(chapter, a=SLUICE, b=WEIR), options=WANTED)
    assert found.text.count("Sluice gate number nine") == 1
    assert found.text.count("Weir keeper Olsen") == 1
    assert sorted(kinds(found)) == ["picture-not-read", "read-by-ocr"]
    assert kinds(read(Path("a.epub"), data=book(chapter, a=SLUICE, b=WEIR))) == ["picture-not-read"]


@needs_ocr
def test_pictures_in_a_letter_are_read_too() -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@b.c", "S"
    message.set_content("<p>See <img src='cid:one'></p>", subtype="html")
    message.add_related(SLUICE, maintype="image", subtype="png", cid="<one>", filename="one.png", disposition="inline")
    found = read(Path("a.eml"), data=message.as_bytes(), options=WANTED)
    assert "Sluice gate number nine" in found.text
    assert kinds(found) == ["read-by-ocr"]


def test_a_picture_in_a_letter_is_missed_only_if_no_part_has_it() -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@b.c", "S"
    message.set_content("<p>See <img src='cid:o%6Ee'> and <img src='CID:two'></p>", subtype="html")
    small = {"maintype": "image", "subtype": "png", "disposition": "inline"}
    message.add_related(b"tiny", cid="<one>", **small)
    found = read(Path("a.eml"), data=message.as_bytes(), options=WANTED)
    assert [warning.detail[:29] for warning in found.warnings] == ["1 picture is not in the file,"]
    message.add_related(b"tiny too", cid="<two>", **small)
    assert read(Path("a.eml"), data=message.as_bytes(), options=WANTED).warnings == ()


@needs_ocr
def test_pictures_are_bounded_in_number_and_seconds_and_damaged_ones_said() -> None:
    data = page(*[f'<img src="{uri(each)}">' for each in (SLUICE, WEIR)])
    few = read(Path("a.html"), data=data, options=ReadOptions(pictures=True, ocr_pages=1))
    assert "Sluice" in few.text
    assert "Weir" not in few.text
    assert sorted(kinds(few)) == ["picture-not-read", "read-by-ocr"]
    late = read(Path("a.html"), data=data, options=ReadOptions(pictures=True, ocr_seconds=0))
    assert kinds(late) == ["picture-not-read"]
    for address in (uri(SLUICE[:60] + bytes(2000)), f"data:image/png;base64,{'!' * 3000}", uri(b"<svg>" * 500)):
        broken = read(Path("a.html"), data=page(f'<img src="{address}">'), options=WANTED)
        assert kinds(broken) == ["picture-not-read"]
