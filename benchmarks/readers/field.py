"""What must and must not come out of the inputs from the field (`--data`), whichever tool reads them.

Spaces count as one, line ends count. A value of a table is given with its header, as `Cell`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.readers.scores import share_of_cells
from benchmarks.readers.truth import Cell


@dataclass(frozen=True)
class Expected:
    """What is right for one file.

    Attributes:
        there: texts that must be in it.
        absent: texts that must not.
        cells: of its tables.
        pages: texts, the first on page 1, and so on.

    """

    there: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    pages: tuple[str, ...] = ()

    def is_met(self, texts: Sequence[str]) -> bool:
        """Say whether a tool's text, of pages or whole, is right."""
        text = _flat("\n".join(texts))
        return (
            all(_flat(wanted) in text for wanted in self.there)
            and not any(_flat(wrong) in text for wrong in self.absent)
            and (not self.cells or share_of_cells(self.cells, "\n".join(texts)) == 1)
            and all(len(texts) > page and wanted in texts[page] for page, wanted in enumerate(self.pages))
        )


def _flat(text: str) -> str:
    lines = (re.sub(r"[ \t\xa0]+", " ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _cells(*pairs: str) -> tuple[Cell, ...]:
    return tuple(Cell(*pair.split("=")) for pair in pairs)


_YEARS = _cells("Region=Northmoor", "2023=410", "2024=425", "2025=431", "2024=371", "2025=366")
_TWICE = "The harbour of Kelmouth was dug in 1611 by the town itself"

EXPECTED: dict[str, Expected] = {
    "cells-same-line.pdf": Expected(("400.01", "800.01"), ("400.013", "600.015", "800.017", "200.011")),
    "decimal-comma-cp1252.csv": Expected(
        absent=("‰",),
        cells=_cells("Artikel=Schäfchen", "Preis=12,50 €", "Artikel=Straße", "Menge=2"),
    ),
    "accordion-buttons.html": Expected((_TWICE, "bring a goat on board?", "Yes, on a lead", "does the bar close?")),
    "aside-notes.html": Expected((_TWICE, "Never open the kiln above 300 degrees.", "Wait six hours.")),
    "hidden-tabs.html": Expected((_TWICE, "apt install pumpd", "winget install PumpDaemon")),
    "id-pagination.html": Expected((_TWICE, "X-Harbour-Key", "pass cursor to get the next forty", "berth is taken")),
    "pre-br.html": Expected(("import harbour\nfor ship in harbour.ships:\nship.moor()",)),
    "identifiers.docx": Expected(
        ("max_parallel_pumps", "pump_config.yaml", "KX_77_B*2 [rev 3]", "__init__", r"C:\pumps\new_data", "+49 30 12"),
        (r"\_", r"\*"),
    ),
    "merged-cells.docx": Expected(
        cells=_cells("Season=Summer", "Route=South pier", "Adult=12 crowns", "Child=6 crowns", "Child=5 crowns"),
    ),
    "bad-fldchar.docx": Expected(("Field without a beginning.",)),
    "bad-missing-link.docx": Expected(("See the vanished link",)),
    "bad-missing-note.docx": Expected(("A note that is gone", "stays readable.")),
    "linked-image.docx": Expected(("nine pear trees", "picked in October")),
    "shape-without-geometry.pptx": Expected(("Lighthouse budget", "730 crowns a month")),
    "equations-one-bad.docx": Expected(("2W", "\u03c1S", "for this glider", "in newtons", "v", "L")),
    "tracked.docx": Expected(("is six weeks", "about llamas", "about geese"), ("two weeks", "twosix", "otters")),
    "numbered-headings.docx": Expected(("2.2 Of the pilot", "2.1 Of the keeper", "1 Definitions", "2 Duties")),
    "wrong-dimension.xlsx": Expected(cells=_cells("Name=Person0", "Town=Town0", "Name=Person4", "Town=Town4")),
    "dup-header.csv": Expected(("Monday", "Tuesday", "Amount"), ("column 1",)),
    "duplicate-headers.xlsx": Expected(("bread", "Amount"), ("column 1",), _cells("Date=Monday", "Note=salt")),
    "long-header.csv": Expected(
        cells=_cells(
            "Name=Ulla",
            "Please describe in your own words and as exactly as you can what you liked best about the harbour "
            "festival this year=the herring",
        ),
    ),
    "no-header.csv": Expected(("Ulla", "Kelmouth", "Wilma"), ("Ulla: Viggo", "Kelmouth: Osterby")),
    "sep-line.csv": Expected(absent=("sep=",), cells=_cells("Name=Ulla", "Town=Kelmouth", "Town=Osterby")),
    "title-rows.xlsx": Expected(
        ("Progress of the bridge works", "as of March"),
        cells=_cells("Task=Pour the pier", "Owner=Birgit", "Status=open"),
    ),
    "two-tables.xlsx": Expected(cells=_cells("Fruit=Apple", "Price=4", "City=Kelmouth", "Mayor=Viggo")),
    "year-columns.xlsx": Expected(cells=_YEARS),
    "years.csv": Expected(cells=_YEARS),
    "formats.xlsx": Expected(
        cells=_cells("Name=Ada", "Start=05.03.2026", "Share=25.5%", "Fee=1,234.50 EUR", "Code=00123", "At=09:30"),
    ),
    "formulas-uncached.xlsx": Expected(("Gross",), cells=_cells("Item=Rope", "Net=900", "Tax=171")),
    "hidden-and-comments.xlsx": Expected(
        ("chosen by Zelda", "boldword tail", "line one"), cells=_cells("Key=motto", "Value=Fortune favours the boats"),
    ),
    "long-table.md": Expected(cells=_cells("Part=K-0004", "Name=Valve 1", "Pressure=12", "Stock=49")),
    "empty-plain.eml": Expected(("The new crane lifts forty tons",)),
    "forwarded.eml": Expected(("See below.", "cancelled on Sunday because of a strike")),
    "stub-plain.eml": Expected(("The new crane lifts forty tons",)),
    "text-attachment.eml": Expected(("Minutes attached.",)),
    "charset-unknown.eml": Expected(("Die Fähre fährt täglich.",)),
    "latin1-declared.html": Expected(("100 € \u2013", "„Fähre“", "20 € mehr")),
    "no-charset-cp1252.eml": Expected(("Die Fähre fährt um fünf Uhr täglich.",)),
    "no-charset-utf8.eml": Expected(("Die Fähre fährt um fünf Uhr täglich.",)),
    "deck.pptx": Expected(
        ("terraces gave 41 barrels.", "frost of April", "Crush the grapes", "Cooper", "from Slavonia"),
        ("None",),
        pages=("Harvest of the north terraces", "Process", "Sales", "Staff"),
    ),
    "pages.pdf": Expected(pages=tuple(f"Fact {page}-0: " for page in range(1, 13))),
    "form.pdf": Expected(("Name of the ship:", "Cormorant of Osterby")),
    "hyphens.pdf": Expected(
        ("well-known", "international", "state-of-the-art", "ISO-8601", "QX-4471", "e-mail", "--no-cache"),
        ("wellknown", "inter-national", "nocache", "\ufffe"),
    ),
    "smartart.pptx": Expected(("Our steps", "Collect the honey", "Strain it through linen", "Seal the jars")),
    "bad-line.jsonl": Expected(("Good line about seals.", "Third line about gulls.")),
    "meta.json": Expected(("Body",)),
    "ndjson-as-json.json": Expected(("Alba", "410", "Borea", "377")),
    "sup-sub.html": Expected(("10^24", "m^2"), ("1024", "m2.")),
    "anchor-fm.md": Expected(("The anchored note about tackle.",)),
    "colon-title.md": Expected(("Quay", "The old quay is made of larch wood.")),
    "template-fm.md": Expected(("The template note about pulleys.",)),
}  # fmt: skip
