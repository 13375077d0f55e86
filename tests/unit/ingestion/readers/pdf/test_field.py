"""The inputs from the field: what must come out of them, and what must not."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import pytest

from ingestion.readers import read
from ingestion.readers.pictures import text as ocr
from ingestion.types import Extracted, ReadOptions

FIELD = Path(__file__).parents[4] / "data" / "field"


def exam(name: str, **options: object) -> Extracted:
    path = FIELD / name
    return read(path, data=path.read_bytes(), options=ReadOptions(**options))  # type: ignore[arg-type]


def test_cells_on_one_line_stay_apart_and_lines_end() -> None:
    text = exam("01-pdf-lines-and-cells-glued/cells-same-line.pdf").text
    assert text.strip() == "200.01 1\n400.01 3\n600.01 5\n800.01 7"


def test_each_fact_is_on_its_page_and_headers_are_there_once() -> None:
    book = exam("17-pages-of-passages/pages.pdf")
    for page in range(1, 13):
        for fact in range(12):
            assert bisect_right(book.pages, book.text.index(f"Fact {page}-{fact}:")) == page
    assert book.text.count("Harbour yearbook 2026") == 1
    assert " of 12" not in book.text
    assert [warning.kind for warning in book.warnings] == ["boilerplate-left-out"]


def test_values_of_a_form_stand_by_their_labels() -> None:
    text = exam("18-pdf-parts-lost-without-a-word/form.pdf").text
    assert "Name of the ship: Cormorant of Osterby" in text
    assert "Insured: [x]" in text


def test_scanned_pages_without_ocr_are_said() -> None:
    file = exam("18-pdf-parts-lost-without-a-word/mostly-scanned.pdf", ocr=False)
    said = [warning for warning in file.warnings if warning.kind == "pages-without-text"]
    assert [warning.detail for warning in said] == [
        "9 pages (2-10) without text: reading by OCR is switched off",
    ]
    assert len(file.pages) == 10
    assert "Contract file of the harbour." in file.text


@pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")
def test_scanned_pages_are_read() -> None:
    file = exam("18-pdf-parts-lost-without-a-word/mostly-scanned.pdf", ocr_pages=2)
    assert file.text.count("scanned line of a contract 29") == 2
    kinds = {warning.kind: warning.detail for warning in file.warnings}
    assert kinds["read-by-ocr"].startswith("2 pages (2-3) read by OCR")
    assert kinds["pages-without-text"].startswith("7 pages (4-10)")


def test_hyphens_that_belong_to_words_stay() -> None:
    page = exam("19-pdf-hyphens-and-titles/hyphens.pdf")
    for word in (
        "well-known", "international", "state-of-the-art", "ISO-8601", "QX-4471", "e-mail", "user-defined",
        "re-created", "--no-cache", "1990-1995", "Smith-Jones",
    ):  # fmt: skip
        assert word in page.text
    assert page.title == "hyphens"
