"""Where a grid's titles, headers and data are: tables that people made, in all their ways."""

from __future__ import annotations

import pytest

from ingestion.readers.tables.cell_kinds import kind_of_cell
from ingestion.readers.tables.table import Table, as_markdown, tables_in


def found(text: str, *, presume: bool = False) -> list[Table]:
    rows = [[cell.strip() for cell in line.split("|")] for line in text.strip("\n").split("\n")]
    return tables_in(rows, presume_header=presume)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Region|2023|2024\nNorth|410|425\nSouth|380|371", ("Region", "2023", "2024")),
        ("Product|Q1|Q2|Q3\nRope|4|5|6\nSail|7|8|9", ("Product", "Q1", "Q2", "Q3")),
        ("|Jan|Feb\nNorth|4|5\nSouth|3|2", ("", "Jan", "Feb")),
        ("Crew|1|2|3|4\nAda|8|7|8|8\nBob|6|6|5|8", ("Crew", "1", "2", "3", "4")),
        ("Date|Amount|Amount\nMonday|5|7\nTuesday|6|8", ("Date", "Amount", "Amount (2)")),
        ("Name|Town\nUlla|Kelmouth\nViggo|Osterby", ("Name", "Town")),
        ("unit_price|sku\n1.5|A-1\n2.5|B-2", ("unit_price", "sku")),
        ("Kvantum|Dorp\nten|Ulm\ntwo|Ulm\nten|Bonn\ntwo|Bonn\nten|Ulm", ("Kvantum", "Dorp")),
        ("2021|2022|2023\n410|425|431\n380|371|366", ("2021", "2022", "2023")),
        ("Region|FY2023|2023/24\nNorth|1|2\nSouth|3|4", ("Region", "FY2023", "2023/24")),
        ("Pier|2019\nNorth|14\nSouth|22", ("Pier", "2019")),
        ("Mon|Tue|Wed\nmath|art|sport\nlatin|math|art", ("Mon", "Tue", "Wed")),
        ("Wine|Grape\nKelm|red\nOst|white", ("Wine", "Grape")),
        ("Code|Meaning\n08000|connection exception\n08003|no connection", ("Code", "Meaning")),
        ("姓名|城市\n李雷|北京\n韩梅梅|上海", ("姓名", "城市")),
        ("Item|2024-01-01|2024-02-01\nRope|5|6\nSail|7|8", ("Item", "2024-01-01", "2024-02-01")),
        ("x|y\n1|2\n3|4", ("x", "y")),
        ("Who|What did you like best about the harbour festival and its fireworks?\nUlla|all\nOle|food", None),
        ("Region|2024||2025|\n|Sales|Cost|Sales|Cost\nNorth|1|2|3|4\nSouth|5|6|7|8", None),
    ],
)
def test_a_header_is_found(text: str, columns: tuple[str, ...] | None) -> None:
    (table,) = found(text)
    assert table.columns == columns if columns else table.columns
    assert table.rows[0][0] not in table.columns


@pytest.mark.parametrize(
    "text",
    [
        "Ulla|Kelmouth|harbour\nViggo|Osterby|mill\nWilma|Ulm|bakery",
        "1|2\n3|4",
        "Ulla|34|Kelmouth\nViggo|27|Osterby",
        "Anna|1999\nBert|2001\nCarl|1987",
        "2024-01-05|rain\n2024-01-06|sun",
        "a@example.org|Ada\nb@example.org|Bob",
        "AB-12|rope\nAB-13|sail",
        "Oslo|Norway\nBern|Switzerland\nRome|Italy",
        "2021|41\n2022|39\n2023|44",
        "08000|connection exception\n08003|no connection",
        "Rope|EUR 5\nSail|EUR 6",
        "North|1|2|3\nSouth|4|5|6\nEast|7|8|9",
    ],
)
def test_a_grid_without_a_header_is_all_data(text: str) -> None:
    (table,) = found(text)
    assert table.columns == ()
    assert len(table.rows) == text.count("\n") + 1


def test_rows_of_groups_and_of_units_are_joined_to_the_names() -> None:
    grouped = found("Region|2024||2025|\n|Sales|Cost|Sales|Cost\nNorth|1|2|3|4\nSouth|5|6|7|8")[0]
    assert grouped.columns == ("Region", "2024 Sales", "2024 Cost", "2025 Sales", "2025 Cost")
    below = found("Region|Sales||Costs|\n|2023|2024|2023|2024\nNorth|1|2|3|4\nSouth|5|6|7|8")[0]
    assert below.columns == ("Region", "Sales 2023", "Sales 2024", "Costs 2023", "Costs 2024")
    assert found("Name|Length|Mass\n|m|kg\nRope|3|4\nSail|8|9")[0].columns == ("Name", "Length m", "Mass kg")
    assert found("Name|Length\n|(m)\nRope|3\nSail|8")[0].columns == ("Name", "Length (m)")


def test_titles_above_a_table_are_its_caption() -> None:
    (table,) = found("Progress of the works||\nas of March||\n||\nTask|Owner|Status\nPour|Ada|done\nHang|Bob|late")
    assert table.caption == "Progress of the works \u2013 as of March"
    assert table.columns == ("Task", "Owner", "Status")


def test_a_blank_row_parts_tables_but_not_a_total_from_its_table() -> None:
    fruit, cities = found("Fruit|Price\nApple|3\nPear|4\n|\nCity|Mayor\nKelmouth|Ulla\nOsterby|Viggo")
    assert (fruit.columns, cities.columns) == (("Fruit", "Price"), ("City", "Mayor"))
    (sums,) = found("Item|Net|Gross\nRope|100|119\nSail|900|1071\n||\nTotal||1190")
    assert sums.rows[-1] == ("Total", "", "1190")


def test_notes_below_a_table_are_no_caption_of_the_next() -> None:
    first, note, second = found(
        "Fruit|Price\nApple|3\nPear|4\n|\nNote: preliminary|\n|\nCity|Mayor\nUlm|Ulla\nBonn|Ole"
    )
    assert (first.columns, second.columns) == (("Fruit", "Price"), ("City", "Mayor"))
    assert (note.columns, note.rows, second.caption) == ((), (("Note: preliminary",),), "")


def test_what_the_format_says_of_its_header_is_believed() -> None:
    assert tables_in([["1", "2"], ["3", "4"]], header_rows=1)[0].columns == ("1", "2")
    assert tables_in([["Name", "Town"], ["Ada", "Ulm"]], header_rows=0)[0].columns == ()


def test_rows_keep_their_numbers_across_blank_ones() -> None:
    tables = tables_in([["Name", "Age"], ["Ada", "7"], ["", ""], ["Bob", "8"]], numbers=[3, 4, 5, 6])
    assert [number for table in tables for number in table.numbers] == [4, 6]


def test_a_table_in_markdown_has_its_caption_and_no_bar_in_a_cell() -> None:
    table = Table(("a", "b"), (("1|2", "3"),), caption="Sums")
    assert as_markdown(table) == "Sums\n\n| a | b |\n| --- | --- |\n| 1\\|2 | 3 |"


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("12,50 €", "number"), ("1'234.5", "number"), ("-3 %", "number"), ("(7)", "number"), ("1e-5", "number"),
        ("05.03.2026", "date"), ("2026-03-05T10:00:00Z", "date"), ("5 March 2026", "date"), ("9:30", "date"),
        ("n/a", "blank"), ("\u2013", "blank"), ("AB-12", "code"), ("yes", "flag"), ("https://x.org/a", "link"),
        ("Kelmouth", "text"),
    ],
)  # fmt: skip
def test_a_cell_has_a_kind(cell: str, kind: str) -> None:
    assert kind_of_cell(cell) == kind
