from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.readers import read
from ingestion.readers.text.rst_tables import with_bars

BARS = "| Ship | Crew |\n| --- | --- |\n| Alba of Oban | 9 |\n| Skua | 12 |"
GRID = """+---------+------+
| Ship    | Crew |
+=========+======+
| Alba    | 9    |
| of Oban |      |
+---------+------+
| Skua    | 12   |
+---------+------+"""
SIMPLE = """============  ====
Ship          Crew
============  ====
Alba of Oban  9

Skua          12
============  ===="""


def test_drawn_tables_have_bars() -> None:
    assert with_bars(f"Words.\n\n{GRID}\n\nMore.") == f"Words.\n\n{BARS}\n\nMore."
    assert with_bars(f"{SIMPLE}\n\nMore.") == f"{BARS}\n\nMore."


def test_a_row_goes_on_where_its_first_column_is_blank() -> None:
    text = "====  =====\nKey   Value\n====  =====\none   a\n      b\ntwo   c\n====  ====="
    assert with_bars(text) == "| Key | Value |\n| --- | --- |\n| one | a b |\n| two | c |"


def test_an_indented_table_keeps_its_place_and_code_stays() -> None:
    indented = "\n".join(f"   {line}" for line in GRID.split("\n"))
    bars = "\n".join(f"   {line}" for line in BARS.split("\n"))
    assert with_bars(f".. table:: Crews\n\n{indented}\n") == f".. table:: Crews\n\n{bars}\n"
    for above in ("An example::", ".. code-block:: rst"):
        assert with_bars(f"{above}\n\n{indented}\n") == f"{above}\n\n{indented}\n"


@pytest.mark.parametrize(
    "text",
    [
        "+---+---+\n| a     |\n+---+---+\n| b | c |\n+---+---+",
        "+---+---+\n| a | b |\n+   +---+\n|   | c |\n+---+---+",
        "===  ===\na cell over both\n===  ===\n1    2\n===  ===",
        "===  ===\na    b\n--------\n1    2\n===  ===",
        "===  ===\nnever ends",
        "+---+",
        "Title\n=====\n\nWords.",
    ],
)
def test_what_has_merged_cells_or_is_no_table_stays(text: str) -> None:
    assert with_bars(text) == text


def test_headings_and_tables_are_both_found() -> None:
    document = read(Path("a.rst"), data=f"Ships\n=====\n\n{GRID}\n\nCrews\n=====\n\nAll.\n".encode())
    assert [heading.text for heading in document.headings] == ["Ships", "Crews"]
    assert BARS in document.text


def test_borders_without_end_take_bounded_time() -> None:
    text = "===  ===\na    b\n" + "".join(f"===  {'=' * (3 + n % 40)}\na    b\n" for n in range(50_000))
    assert "a    b" in with_bars(text)
    assert with_bars("+---+\n" * 50_000)
