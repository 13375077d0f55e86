"""What pages draw that PDFium does not survive, or leaves out without a word."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from ingestion.readers import read
from ingestion.readers.drawing.page import draw_page
from ingestion.readers.drawing.view import View
from ingestion.readers.pdf.drawings import faults_of
from ingestion.readers.pdf.objects import Objects, Ref, parsed
from ingestion.types import Extracted

FONT = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
BOX = "/MediaBox [0 0 595 842]"


def pdf(*objects: str) -> bytes:
    """Write a PDF whose first object is the catalog, and whose second the pages."""
    body, offsets = "%PDF-1.7\n", list[int]()
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode("latin-1")


def stream(content: str, head: str = "") -> str:
    return f"<< {head} /Length {len(content)} >>\nstream\n{content}\nendstream"


def words(text: str, y: int = 700) -> str:
    return f"BT /F 10 Tf 60 {y} Td ({text}) Tj ET "


def two_pages(first: str, *forms: str) -> bytes:
    """Make a document whose first page has a content and forms from object 8 on; the second is a plain one."""
    page = "/Type /Page /Parent 2 0 R"
    return pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count 2 /Kids [3 0 R 6 0 R] {BOX} /Resources << /Font << /F 4 0 R >> >> >>",
        f"<< {page} /Contents 5 0 R /Resources << /Font << /F 4 0 R >> /XObject << /X8 8 0 R >> >> >>",
        FONT,
        first,
        f"<< {page} /Contents 7 0 R >>",
        stream(words("Page two.")),
        *forms,
    )


def form(content: str, *drawn: int) -> str:
    named = " ".join(f"/X{number} {number} 0 R" for number in drawn)
    resources = f"/Resources << /Font << /F 4 0 R >> /XObject << {named} >> >>"
    return stream(content, f"/Type /XObject /Subtype /Form /BBox [0 0 595 842] {resources}")


def said(document: Extracted) -> list[tuple[str, int | None]]:
    return [(warning.kind, warning.page) for warning in document.warnings]


def made(data: bytes) -> Extracted:
    return read(Path("a.pdf"), data=data)


FIRST = stream(words("Page one.") + "/X8 Do")


@pytest.mark.parametrize(
    "forms",
    [
        [form(words("A form.", 600) + "/X8 Do /X8 Do", 8)],
        [form(words("A form.", 600) + "/X9 Do /X9 Do", 9), form("/X8 Do /X8 Do", 8)],
        [form(words("A form.", 600) + "/X9 Do", 9), form("/X10 Do", 10), form("/X9 Do /X8 Do /X9 Do", 8, 9)],
    ],
)
def test_forms_that_draw_themselves_end_and_are_said(forms: list[str]) -> None:
    data = two_pages(FIRST, *forms)
    document = made(data)
    assert document.text.split("\n\n") == ["Page one.", "A form.", "Page two.", ""]
    assert said(document) == [("part-unreadable", 1)]
    assert draw_page(data, View("a.pdf", 1)).startswith(b"\x89PNG")


def test_forms_that_draw_others_thousands_of_times_end() -> None:
    steps = [form(f"/X{9 + step} Do " * 10, 9 + step) for step in range(20)]
    document = made(two_pages(FIRST, *steps, form(words("Deep.", 600))))
    assert {"Page one.", "Page two."} <= set(document.text.split("\n\n"))
    assert said(document) == [("part-unreadable", 1)]


def test_forms_that_name_but_do_not_draw_themselves_are_whole() -> None:
    """Some programs give each form the resources of its page."""
    document = made(two_pages(FIRST, form(words("A form.", 600) + "/X9 Do", 8, 9), form(words("Inner.", 500), 8, 9)))
    assert document.text.split("\n\n") == ["Page one.", "A form.", "Inner.", "Page two.", ""]
    assert not document.warnings


@pytest.mark.parametrize(
    ("content", "head"),
    [
        (words("Page one."), "/Filter /NoSuchDecode"),
        (words("Page one."), "/Filter [/ASCII85Decode /NoSuchDecode]"),
        (words("Page one."), "/Filter /FlateDecode"),
        ("\x01\x02 what is no code of LZW " * 4, "/Filter /LZWDecode"),
        ("~~ no letters of this code ~~ " * 4, "/Filter /ASCII85Decode"),
    ],
)
def test_content_that_cannot_be_unpacked_is_said_with_its_page(content: str, head: str) -> None:
    document = made(two_pages(stream(content, head), form("")))
    assert "Page two." in document.text
    assert said(document) == [("part-unreadable", 1)]


def test_content_that_is_packed_as_it_should_be_is_not_said() -> None:
    packed = zlib.compress(words("Page one.").encode()).decode("latin-1")
    document = made(two_pages(stream(packed, "/Filter [/FlateDecode]"), form("")))
    assert document.text.split() == ["Page", "one.", "Page", "two."]
    assert not document.warnings
    hexed = words("Page one.").encode().hex() + ">"
    assert not made(two_pages(stream(hexed, "/Filter /ASCIIHexDecode"), form(""))).warnings
    assert not made(two_pages(stream("q Q"), form(""))).warnings


def test_what_no_page_draws_is_said_without_one() -> None:
    document = made(two_pages(stream(words("Page one.")), stream("no zlib", "/Filter /FlateDecode")))
    assert said(document) == [("part-unreadable", None)]


def test_objects_are_parsed() -> None:
    assert parsed(b"<< /A [1 0 R (x (y) \\) z) <0a>] /B << /C /D >> % note\n/E 2 0 R >> stream") == {
        b"/A": [Ref(1), b"(x (y) \\) z)", b"<0a>"],
        b"/B": {b"/C": b"/D"},
        b"/E": Ref(2),
    }
    for odd in (b"", b">> ]", b"<< /A", b"<< /A [ 1 R ] >>", b"[" * 500, b"R R R", b"(((("):
        parsed(odd)


def test_packed_objects_are_found() -> None:
    inner = b"<< /Contents 9 0 R >> << /X 1 >>"
    content = zlib.compress(b"5 0 6 22 " + inner)
    head = b"4 0 obj << /Type /ObjStm /N 2 /First 9 /Filter /FlateDecode >> stream\n"
    objects = Objects(b"%PDF-1.5\n" + head + content + b"\nendstream endobj")
    assert objects.dictionary(Ref(5)) == {b"/Contents": Ref(9)}
    assert objects.dictionary(Ref(6)) == {b"/X": b"1"}


@pytest.mark.parametrize(
    "data",
    [
        b"1 0 obj " * 100_000,
        b"1 0 obj << /Subtype /Form >> stream\n" * 30_000,
        b"1 0 obj << /Kids [1 0 R 1 0 R] >> endobj trailer << /Root 1 0 R >>" + b"/Filter /X /Form /FlateDecode",
        b"1 0 obj 2 0 R endobj 2 0 obj 1 0 R endobj trailer << /Root 1 0 R >>",
        b"".join(b"%d 0 obj << /Filter /Fl /Subtype /Form >> stream\nxx endobj " % n for n in range(20_000)),
    ],
)
def test_hostile_objects_end(data: bytes) -> None:
    found = faults_of(b"%PDF-1.7\n" + data)
    assert (found.endless, found.unknown) == ((), ())


def test_a_tree_of_pages_that_holds_itself_ends() -> None:
    kids = " ".join(["2 0 R"] * 20)
    data = pdf(
        "<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] >>", stream("x", "/Filter /Y"),
        *[form("/X4 Do", 4)],
    )  # fmt: skip
    assert faults_of(data).endless == ()
