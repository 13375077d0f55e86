from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from support import pdfs

from ingestion.readers import read

WORDS = "the tide rises over the flats and the boats swing at their moorings while gulls walk along the wet sand "
PARAGRAPHS = [f"Number {n} begins here: {WORDS * (2 + n % 2)}and ends with {n}." for n in range(1, 9)]


def columns(paragraphs: list[str], count: int, **style: Any) -> str:
    """Set paragraphs in columns without space between them; return what is read."""
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph

    held = io.BytesIO()
    width = 480 / count
    document = BaseDocTemplate(held, pagesize=pdfs.A4)
    frames = [Frame(50 + width * n, 500, width - 15, 280) for n in range(count)]
    document.addPageTemplates(PageTemplate(frames=frames))
    look = ParagraphStyle("x", fontSize=9, leading=11, **style)
    document.build([Paragraph(text, look) for text in paragraphs])
    return read(Path("a.pdf"), data=held.getvalue()).text


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("style", [{"firstLineIndent": 12}, {"firstLineIndent": 12, "alignment": 4}])
def test_indented_paragraphs_are_paragraphs(count: int, style: dict[str, Any]) -> None:
    parts = columns(PARAGRAPHS, count, **style).split("\n\n")
    begun = [part for part in parts if part.startswith("Number")]
    assert len(begun) >= len(PARAGRAPHS) - count, "one at the top of a column may follow at once"
    assert all(part.count("begins here") <= 1 for part in parts)


def test_a_line_that_ends_early_ends_a_paragraph() -> None:
    text = columns([f"{paragraph} Ahoy." for paragraph in PARAGRAPHS], 2, alignment=4)
    assert text.count("\n\n") >= 4
    assert not [part for part in text.split("\n\n") if part[:1].islower()]


def test_a_hanging_indent_is_no_paragraph() -> None:
    items = [f"• {WORDS * 2}of boat {n}" for n in range(1, 5)]
    text = columns(items, 2, leftIndent=10, firstLineIndent=-10)
    assert all(part.startswith("•") or "•" not in part for part in text.strip().split("\n\n"))
    assert "rises\n\n" not in text.replace("  ", " ")


def test_lists_and_verses_stay_as_they_are() -> None:
    verse = ["The sea.", "A long, long line of a poem about it.", "The shore.", "Another such long line of that poem."]
    text = read(Path("a.pdf"), data=pdfs.drawn(lambda canvas: pdfs.lines(canvas, verse))).text
    assert text.strip() == "\n".join(verse)
