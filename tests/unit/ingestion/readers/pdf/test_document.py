from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import files, pdfs

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.readers.ocr import engine as ocr
from ingestion.types import Extracted, ReadOptions


def made(data: bytes, name: str = "a.pdf", **options: Any) -> Extracted:
    return read(Path(name), data=data, options=ReadOptions(**options))


def text_or_reason(data: bytes) -> str:
    try:
        return made(data).text
    except Unreadable as exc:
        return str(exc)


@pytest.mark.parametrize(
    "title",
    [
        "untitled",
        "Untitled-3",
        "Microsoft Word - report.docx",
        "plan.indd",
        "PowerPoint Presentation",
        "Document1",
        "C:\\temp\\x",
        "anonymous",
        "  ",
    ],
)
def test_titles_that_programs_put_there_are_none(title: str) -> None:
    assert made(pdfs.drawn(lambda c: c.drawString(60, 700, "Words."), Title=title), "Harbour.pdf").title == "Harbour"


@pytest.mark.parametrize("title", ["Document management", "The untitled years", "Scan of the sea"])
def test_titles_of_people_stay(title: str) -> None:
    assert made(pdfs.drawn(lambda c: c.drawString(60, 700, "Words."), Title=title)).title == title


def test_names_of_pages_are_kept_beside_their_numbers() -> None:
    from reportlab.pdfbase.pdfdoc import PDFPageLabel

    def page(canvas: Any) -> None:
        canvas.drawString(60, 700, "Words.")
        canvas._doc.Catalog.PageLabels = None
        canvas.addPageLabel(0, style="ROMAN_LOWER")
        canvas.addPageLabel(2, prefix="A-", start=1, style="ARABIC")

    assert PDFPageLabel
    assert made(pdfs.drawn(*[page] * 4)).labels == ("i", "ii", "A-1", "A-2")
    assert made(files.pdf("One.", "Two.")).labels == ()


def test_all_kinds_of_fields_have_their_values() -> None:
    def page(canvas: Any) -> None:
        form = canvas.acroForm
        for number, label in enumerate(("Ship:", "Flag:", "Insured:", "Armed:", "Sails:")):
            canvas.drawString(60, 700 - 40 * number, label)
        place = {"x": 150, "borderWidth": 0}
        form.textfield(name="ship", value="Kittiwake of Osterby", y=692, width=200, height=20, **place)
        form.choice(name="flag", value="Norway", options=["Norway", "Iceland"], y=652, width=100, height=20, **place)
        form.checkbox(name="insured", checked=True, y=612, size=20, **place)
        form.checkbox(name="armed", checked=False, y=572, size=20, **place)
        form.listbox(name="sails", value="Jib", options=["Jib", "Genoa"], y=520, width=100, height=50, **place)

    text = made(pdfs.drawn(page)).text
    for line in ("Ship: Kittiwake of Osterby", "Flag: Norway", "Insured: [x]", "Armed: [ ]", "Jib"):
        assert line in text
    assert "Iceland" not in text


def test_notes_of_readers_are_kept() -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(60, 700, "The contract.")
        canvas.textAnnotation("Check the fee of the berth", Rect=[60, 600, 90, 630])

    assert made(pdfs.drawn(page)).text.strip() == "The contract.\n\nNote: Check the fee of the berth"


def test_headings_are_found_over_two_lines() -> None:
    data = files.pdf("Words.\nA heading that is\nlonger\nand text", outline={1: "A heading that is longer"})
    book = made(data)
    assert [(heading.text, heading.offset) for heading in book.headings] == [
        ("A heading that is longer", book.text.index("A heading"))
    ]


def test_headers_with_page_numbers_are_left_out_and_texts_that_are_alike_are_not() -> None:
    pages = [
        f"The Harbour Act\nArticle {n}\nShips pay {n * 13} crowns.\nAll fees are due at once.\n- {n} -"
        for n in range(1, 9)
    ]
    text = made(files.pdf(*pages)).text
    assert text.count("The Harbour Act") == 1
    assert "- 4 -" not in text
    for n in range(1, 9):
        assert f"Ships pay {n * 13} crowns." in text


def test_a_page_that_ends_within_a_sentence_goes_on() -> None:
    book = made(files.pdf("The ship that came", "from the north sank."))
    assert book.text == "The ship that came\nfrom the north sank.\n\n"


def test_the_document_decides_about_hyphens() -> None:
    text = made(files.pdf("The wildcat-\nter left. A code-\nbase grows; each code-base does.\nNord-\nOst.")).text
    assert text == "The wildcatter left. A code-base grows; each code-base does.\nNord-Ost.\n\n"


def test_damaged_pages_are_said_and_the_rest_is_read() -> None:
    data = files.pdf("One page.", "Another page.")
    cut = data.replace(b"/Type /Page\n", b"/Type /Pagf\n", 1) if b"/Type /Page\n" in data else data
    assert "Another page." in made(cut).text


def test_scans_without_ocr_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "available", lambda: False)
    with pytest.raises(Unreadable, match=r"pip install 'footnote-server\[ocr\]'"):
        made(files.scanned_pdf())
    with pytest.raises(Unreadable, match=r"an image; install Footnote's extra `ocr`"):
        made(files.ONE_PIXEL_PNG, "a.png")


def test_a_million_pages_end() -> None:
    kids = b" ".join([b"3 0 R"] * 60_000)
    out = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Count 60000/Kids["
    out += kids + b"]>>\nendobj\n3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>\nendobj\ntrailer<</Root 1 0 R>>"
    with pytest.raises(Unreadable):
        made(out)


def test_pages_of_odd_sizes_are_read() -> None:
    for size in ((1.0, 1.0), (14400.0, 3.0), (200_000.0, 200_000.0)):
        data = pdfs.drawn(lambda canvas: canvas.drawString(0, 0, "Words"), size=size)
        assert text_or_reason(data).startswith(("Words", "there is no text"))


def test_files_cut_anywhere_are_read_or_refused() -> None:
    data = files.pdf("One page.", "Another page.", outline={1: "One"})
    for end in range(20, len(data), 97):
        assert text_or_reason(data[:end])
