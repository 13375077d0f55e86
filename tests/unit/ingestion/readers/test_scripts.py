"""Raised and lowered characters: one rule, and the same text from every format."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from support import pdfs

from ingestion.readers import read
from ingestion.readers.drawing.page import page_rectangles
from ingestion.readers.drawing.view import View
from ingestion.readers.scripts import subscript, superscript


@pytest.mark.parametrize(
    ("before", "text", "shown"),
    [
        ("10", "24", "^24"),
        ("10", "-3", "^-3"),
        ("y", "n+1", "^(n+1)"),
        ("Ca", "2+", "^2+"),
        ("e", "1.5", "^1.5"),
        ("(x+y)", "2", "^2"),
        ("the 1", "st", "st"),
        ("XIX", "e", "e"),
        ("n", "e", "^e"),
        ("Foo", "TM", "TM"),
        ("Foo", "**", "**"),
        ("word", "1", "^1"),
        ("wet.", "3", "^3"),
        ("“wet.”", "12", "^12"),
        ("wet.", "[3]", "[3]"),
        ("wet ", "3", "3"),
        ("", "3", "3"),
        ("$", "99", "99"),
        ("10", "24.", "^24."),
        ("10", " 24 ", " ^24 "),
        ("10^2", "4", "4"),
        ("x", "^2", "^2"),
        ("10", "  ", "  "),
    ],
)
def test_raised(before: str, text: str, shown: str) -> None:
    assert superscript(text, before) == shown


@pytest.mark.parametrize(
    ("before", "text", "shown"),
    [
        ("H", "2", "2"),
        ("x", "i", "_i"),
        ("a", "n+1", "_(n+1)"),
        ("10", "2", "_2"),
        ("(OH)", "2", "2"),
        ("x_i", "j", "j"),
        ("max_pumps", "i", "_i"),
        ("see ", "below", "below"),
        ("x", "i,", "_i,"),
    ],
)
def test_lowered(before: str, text: str, shown: str) -> None:
    assert subscript(text, before) == shown


def in_html(before: str, text: str) -> tuple[str, bytes]:
    return "a.html", f"<main><p>{before}<sup>{text}</sup></p></main>".encode()


def in_word(before: str, text: str) -> tuple[str, bytes]:
    from docx import Document

    document, held = Document(), io.BytesIO()
    paragraph = document.add_paragraph(before)
    paragraph.add_run(text).font.superscript = True
    document.save(held)
    return "a.docx", held.getvalue()


def in_pdf(before: str, text: str) -> tuple[str, bytes]:
    return "a.pdf", pdfs.drawn(lambda canvas: sized(canvas, (before, 10, 0), (text, 6, 4)))


def sized(canvas: Any, *parts: tuple[str, float, float], font: str = "Helvetica") -> None:
    """Draw texts side by side, each with its size and how far it is raised."""
    x = 60.0
    for text, size, rise in parts:
        canvas.setFont(font, size)
        canvas.drawString(x, 700 + rise, text)
        x += canvas.stringWidth(text, font, size)


@pytest.mark.parametrize(
    ("before", "text", "shown"),
    [("about 10", "24", "10^24"), ("is 2", "n+1", "2^(n+1)"), ("the 5", "th", "5th"), ("It is wet.", "3", "wet.^3")],
)
@pytest.mark.parametrize("made", [in_html, in_word, in_pdf])
def test_formats_write_alike(made: Any, before: str, text: str, shown: str) -> None:
    name, data = made(before, text)
    assert read(Path(name), data=data).text.split()[-1] == shown


def test_what_stands_in_brackets_is_marked_in_a_pdf() -> None:
    name, data = in_pdf("is 2", "n+1")
    whole = read(Path(name), data=data).text
    start = whole.index("+1")
    (found,) = page_rectangles(data, View(name, 1, whole, start, start + 2))
    assert abs((found.right - found.left) * 595 - (6 * 1.14 + 2)) < 2  # what `+1` takes of Helvetica's 6 points


def test_an_exponent_that_several_operators_show_is_one() -> None:
    data = pdfs.drawn(lambda canvas: sized(canvas, ("is 2", 10, 0), ("n", 6, 4), ("+1", 6, 4), (" ships", 10, 0)))
    assert read(Path("a.pdf"), data=data).text.strip() == "is 2^(n+1) ships"


def test_a_font_with_another_top_is_no_exponent() -> None:
    """Ligatures of another font, typewriter letters of the same size: they stand on the same line."""

    def page(canvas: Any) -> None:
        x = 60.0
        for text, font in (
            ("see(", "Times-Roman"),
            ("https:", "Courier"),
            (") speci", "Times-Roman"),
            ("f", "Courier"),
        ):
            canvas.setFont(font, 10)
            canvas.drawString(x, 700, text)
            x += canvas.stringWidth(text, font, 10)

    assert read(Path("a.pdf"), data=pdfs.drawn(page)).text.strip() == "see(https:) specif"


@pytest.mark.parametrize("rise", [2, 4, 6])
@pytest.mark.parametrize("to", [-5, 0, 3, 30])
def test_a_small_word_above_the_line_is_a_word_of_its_own(rise: int, to: int) -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(60, 700, "Four circles")
        canvas.setFont("Helvetica", 6)
        canvas.drawString(60 + canvas.stringWidth("Four circles", "Helvetica", 10) + to, 700 + rise, "are")

    assert read(Path("a.pdf"), data=pdfs.drawn(page)).text.split() == ["Four", "circles", "are"]
