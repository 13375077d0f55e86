"""The one inner form of a table: what every reader makes of what its format calls a table, and its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its header found and its merged cells filled.

    Attributes:
        columns: a name for each column, different ones; those of several header rows joined (``2024 Sales``); empty
            if it has no header.
        rows: cells as the format shows them, on one line each, as many as the widest row has.
        numbers: of `rows`, from 1, as the program that made the file numbers them; or empty.
        caption: title above or below it; or empty.

    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    caption: str = ""


def as_markdown(table: Table) -> str:
    """Return it as Markdown with bars: the caption on a line before it, the header, a line of dashes, a line a row."""
    width = max((len(row) for row in (table.columns, *table.rows)), default=0)
    lines = [_line(table.columns, width), "|" + " --- |" * width, *(_line(row, width) for row in table.rows)]
    return "\n".join([table.caption, "", *lines] if table.caption else lines)


def _line(cells: Sequence[str], width: int) -> str:
    padded = [*cells, *[""] * (width - len(cells))]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in padded) + " |"
