from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.readers import read
from ingestion.readers.text.html_tables import with_bars

TABLE = "<table>\n<tr><th>Ship</th><th>Crew</th></tr>\n\n<tr><td>Alba</td><td>9 | 8</td></tr>\n</table>"
BARS = "| Ship | Crew |\n| --- | --- |\n| Alba | 9 \\| 8 |"


def test_a_table_of_html_is_a_table() -> None:
    text = read(Path("a.md"), data=f"# Ships\n\nAll of them:\n\n{TABLE}\n\nThe end.".encode()).text
    assert text == f"# Ships\n\nAll of them:\n\n{BARS}\n\n\nThe end."


@pytest.mark.parametrize(
    "text",
    [
        f"```html\n{TABLE}\n```\nwords",
        f"~~~\n{TABLE}",
        "    <table><tr><th>a<th>b<tr><td>1<td>2</table>",
        "<table><tr><td><table><tr><td>1</table></table>",
        "<table><tr><td>never closed",
        "Words with <table> in them.",
        "<tablet>1</tablet>",
    ],
)
def test_code_and_what_is_no_table_stay(text: str) -> None:
    assert with_bars(text) == text


def test_tables_behind_code_are_found_and_those_for_layout_stay() -> None:
    layout = '<table role="presentation"><tr><td>left</td><td>right</td></tr></table>'
    assert with_bars(f"```\ncode\n```\n{TABLE}\n{layout}\n") == f"```\ncode\n```\n{BARS}\n\n{layout}\n"


def test_many_tables_that_never_end_are_read_in_bounded_time() -> None:
    text = "<table>\n" * 50_000
    assert with_bars(text) == text
