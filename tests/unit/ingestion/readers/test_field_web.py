"""The exam: files that people report trouble with, each with the text that must and must not come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.types import Extracted, ReadOptions
from storage.instants import utc

FIELD = Path(__file__).parents[3] / "data" / "field"


def field(name: str) -> Extracted:
    file = next(FIELD.glob(f"*/{name}"))
    return read(file, data=file.read_bytes())


@pytest.mark.parametrize(
    ("name", "there", "not_there", "warnings"),
    [
        ("decimal-comma-cp1252.csv", ["Schäfchen", "12,50 €", "Straße"], ["‰"], ["encoding-guessed"]),
        ("accordion-buttons.html", ["goat on board?", "When does the bar close?", "At eleven"], [], []),
        ("aside-notes.html", ["Never open the kiln above 300 degrees.", "Wait six hours."], [], []),
        ("hidden-tabs.html", ["Linux", "Windows", "apt install pumpd", "winget install PumpDaemon"], [], []),
        ("id-pagination.html", ["X-Harbour-Key", "pass cursor to get", "A 409 means"], [], []),
        ("pre-br.html", ["import harbour\nfor ship in harbour.ships:\n    ship.moor()\n"], [], []),
        ("empty-plain.eml", ["lifts forty tons and comes from Gdansk"], [], []),
        ("stub-plain.eml", ["lifts forty tons and comes from Gdansk"], ["HTML viewer"], []),
        ("forwarded.eml", ["See below.", "From: Ulla <ulla@example.org>", "cancelled on Sunday"], [], []),
        ("text-attachment.eml", ["Minutes attached.", "buy a second crane"], [], []),
        ("charset-unknown.eml", ["Die Fähre fährt täglich."], [], ["encoding-guessed"]),
        ("no-charset-cp1252.eml", ["Die Fähre fährt um fünf Uhr täglich."], [], ["encoding-guessed"]),
        ("no-charset-utf8.eml", ["Die Fähre fährt um fünf Uhr täglich."], [], []),
        ("latin1-declared.html", ["100 € – und die „Fähre“ kostet 20 € mehr"], [], []),
        ("bad-line.jsonl", ["Good line about seals.", "Third line about gulls."], ["Broken"], ["row-skipped"]),
        ("ndjson-as-json.json", ["name: Alba\ntons: 410\n\nname: Borea\ntons: 377"], [], []),
        ("sup-sub.html", ["10^24 metres", "H2O is wet.[3]", "25 m^2."], ["1024"], []),
        ("anchor-fm.md", ["The anchored note about tackle."], ["&b"], []),
        ("colon-title.md", ["made of larch wood"], ["---"], ["front-matter-unreadable"]),
        ("template-fm.md", ["The template note about pulleys."], ["{{"], ["front-matter-unreadable"]),
    ],
)
def test_what_people_report_comes_out_right(
    name: str, there: list[str], not_there: list[str], warnings: list[str]
) -> None:
    found = field(name)
    assert [part for part in there if part not in found.text] == []
    assert [part for part in not_there if part in found.text] == []
    assert [warning.kind for warning in found.warnings] == warnings


def test_headings_of_a_page_are_those_that_its_buttons_have() -> None:
    assert [heading.text for heading in field("accordion-buttons.html").headings] == [
        "Questions about the ferry",
        "May I bring a goat on board?",
        "When does the bar close?",
    ]
    assert [heading.text for heading in field("id-pagination.html").headings][1:] == [
        "Authentication",
        "Pagination",
        "Errors",
    ]


def test_metadata_keeps_its_types() -> None:
    assert field("meta.json").metadata == {
        "year": 2024,
        "big": 1180591620717411303424,
        "f": 1.5,
        "n": None,
        "l": [1, "a"],
        "o": {"k": 1},
    }
    assert field("colon-title.md").metadata == {"title": "Re: the old quay", "tags": ["harbour"]}
    assert field("colon-title.md").title == "Re: the old quay"
    assert field("anchor-fm.md").metadata == {"base": {"town": "Ulm"}, "other": {"town": "Ulm"}}


def test_headers_in_eight_bit_are_read() -> None:
    assert field("no-charset-utf8.eml").title == "Grüße aus Köln"


def test_dates_of_mails_are_instants() -> None:
    """As `storage.documents` keeps them, and filters compare them."""
    at = {name: utc(str(field(f"{name}.eml").metadata["date"])) for name in ("tz0", "tz1", "tz2")}
    assert [name for name, instant in at.items() if instant >= utc("2024-10-01T17:30:00Z")] == ["tz0"]


def test_a_damaged_outlook_message_is_named_for_what_it_is() -> None:
    with pytest.raises(Unreadable, match="a damaged Outlook message"):
        field("outlook.msg")


def test_a_note_with_a_picture_inside_keeps_its_words() -> None:
    data = "A note.\n\n![The quay](data:image/png;base64," + "iVBORw0KGgo" * 4000 + ")\n\nThe tide is at noon."
    found = read(Path("a.md"), data=data.encode(), options=ReadOptions())
    assert found.text == "A note.\n\nThe quay\n\nThe tide is at noon."
    assert [warning.kind for warning in found.warnings] == ["data-left-out"]
