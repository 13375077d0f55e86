"""Office files and tables from the field: what must come out of each, and what must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.readers import read
from ingestion.types import Extracted, ReadOptions

FIELD = Path(__file__).parents[3] / "data" / "field"
OPEN = ReadOptions(hidden=True)


def given(place: str, options: ReadOptions | None = None) -> Extracted:
    folder, name = place.split("/")
    (path,) = FIELD.glob(f"{folder}-*/{name}")
    return read(path, data=path.read_bytes(), options=options)


@pytest.mark.parametrize(
    ("place", "texts", "absent"),
    [
        ("05/identifiers.docx", ["max_parallel_pumps", "KX_77_B*2 [rev 3]", "__init__", r"C:\pumps\new_data"], ["\\_"]),
        ("06/merged-cells.docx", ["| Summer | South pier | 12 crowns | 6 crowns |"], ["\n| South pier"]),
        ("07/bad-fldchar.docx", ["Field without a beginning."], []),
        ("07/bad-missing-link.docx", ["See the vanished link"], []),
        ("07/bad-missing-note.docx", ["A note that is gone stays readable."], []),
        ("07/linked-image.docx", ["nine pear trees", "picked in October"], []),
        ("07/shape-without-geometry.pptx", ["Lighthouse budget", "730 crowns a month"], []),
        ("08/equations-one-bad.docx", ["v=(2W)/(ρS) for", "L=(2W)/(ρS) in newtons"], []),
        ("08/tracked.docx", ["is six weeks", "about llamas"], ["two", "otters"]),
        ("09/numbered-headings.docx", ["2.2 Of the pilot", "1 Definitions"], []),
        ("10/wrong-dimension.xlsx", [f"Name: Person{n}\nTown: Town{n}" for n in range(5)], []),
        ("11/dup-header.csv", ["Amount: 5\nAmount (2): 7"], []),
        ("11/duplicate-headers.xlsx", ["Amount: 6\nAmount (2): 8\nNote: salt"], ["column"]),
        ("11/long-header.csv", ["festival this year: the herring"], ["column"]),
        ("11/no-header.csv", ["column 1: Ulla", "column 3: bakery"], ["Ulla: "]),
        ("11/sep-line.csv", ["Name: Ulla\nTown: Kelmouth"], ["sep"]),
        (
            "11/title-rows.xlsx",
            ["Progress of the bridge works", "as of March", "Task: Hang the cables\nOwner: Birgit"],
            [],
        ),
        ("11/two-tables.xlsx", ["Fruit: Pear\nPrice: 4", "City: Osterby\nMayor: Viggo"], ["Fruit: Kelmouth"]),
        ("11/year-columns.xlsx", ["Region: Southmoor\n2023: 380\n2024: 371\n2025: 366"], ["column"]),
        ("11/years.csv", ["Region: Northmoor\n2023: 410"], ["column"]),
        (
            "12/formats.xlsx",
            ["25.5%", "00123", "05.03.2026", "1,234.50 EUR", "09:30", "36:00", "TRUE", "Exact: 0.3"],
            [],
        ),
        ("12/formulas-uncached.xlsx", ["Gross: =B2+C2", "Item: Total\nGross: =SUM(D2:D3)"], []),
        ("12/hidden-and-comments.xlsx", ["The motto was chosen by Zelda.", "plain boldword tail"], ["99999"]),
        ("12/only-formulas.xlsx", ["4471"], []),
        ("17/deck.pptx", ["| Q2 |  |", "oak barrels", "frost of April", "Ida"], ["None", "secret cellar"]),
        ("20/smartart.pptx", ["Collect the honey", "Strain it through linen", "Seal the jars"], []),
    ],
)
def test_what_is_in_a_file_comes_out_of_it(place: str, texts: list[str], absent: list[str]) -> None:
    text = given(place).text
    assert [each for each in texts if each not in text] == []
    assert [each for each in absent if each in text] == []


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("07/bad-fldchar.docx", "part-unreadable"),
        ("07/bad-missing-link.docx", "part-unreadable"),
        ("07/bad-missing-note.docx", "part-unreadable"),
        ("07/linked-image.docx", "picture-not-read"),
        ("12/formulas-uncached.xlsx", "formulas-not-calculated"),
        ("12/only-formulas.xlsx", "formulas-not-calculated"),
        ("12/hidden-and-comments.xlsx", "hidden-left-out"),
        ("17/deck.pptx", "hidden-left-out"),
    ],
)
def test_what_is_not_in_the_text_is_said(place: str, kind: str) -> None:
    assert kind in {warning.kind for warning in given(place).warnings}


def test_moved_text_stands_where_it_was_moved_to_only() -> None:
    assert given("08/tracked.docx").text.count("Moved sentence about geese.") == 1


def test_headings_have_their_numbers() -> None:
    headings = [(heading.level, heading.text) for heading in given("09/numbered-headings.docx").headings]
    assert headings == [(1, "1 Definitions"), (1, "2 Duties"), (2, "2.1 Of the keeper"), (2, "2.2 Of the pilot")]


def test_rows_are_numbered_as_the_sheet_numbers_them() -> None:
    book = given("11/two-tables.xlsx")
    assert [(number, book.text[start:].split("\n")[0]) for start, number in book.rows] == [
        (2, "Fruit: Apple"),
        (3, "Fruit: Pear"),
        (6, "City: Kelmouth"),
        (7, "City: Osterby"),
    ]


def test_what_is_hidden_is_read_if_asked_for() -> None:
    assert "99999" in given("12/hidden-and-comments.xlsx", OPEN).text
    assert "The secret cellar has 12 rooms." in given("17/deck.pptx", OPEN).text


def test_each_slide_is_a_page_with_a_heading_of_its_own() -> None:
    deck = given("17/deck.pptx", OPEN)
    assert len(deck.pages) == 6
    assert [(heading.offset, heading.text) for heading in deck.headings] == list(
        zip(
            deck.pages,
            ["Harvest of the north terraces", "Process", "Sales", "Staff", "Hidden slide", "Slide 6"],
            strict=True,
        )
    )
    assert "oak barrels" in deck.text[deck.pages[5] :]
