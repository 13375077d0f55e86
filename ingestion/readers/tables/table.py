"""The one inner form of a table: what every reader makes of what its format calls a table, and its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.readers.tables.blocks import Row, blocks


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its header found and its merged cells filled.

    Attributes:
        columns: a name for each column, different ones where not blank; those of several header rows joined
            (``2024 Sales``); empty if it has no header.
        rows: cells as the format shows them, on one line each, as many as the widest row has.
        numbers: of `rows`, from 1, as the program that made the file numbers them; or empty.
        caption: title above or below it; or empty.

    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    caption: str = ""


def tables_in(
    rows: Sequence[Sequence[str]],
    *,
    header_rows: int | None = None,
    caption: str = "",
    numbers: Sequence[int] = (),
    presume_header: bool = True,
) -> list[Table]:
    """Return the tables in a grid: blank rows part them, unless what follows one is more of the same table.

    Args:
        rows: cells as shown, merged ones filled; may be ragged and have line breaks in cells.
        header_rows: how many of the first rows the format says are a header; None if it does not say.
        caption: of the first table.
        numbers: of the rows, as the program that made the file numbers them.
        presume_header: where nothing tells a header from data, the first row of the grid is one.

    """
    width = max(map(len, rows), default=0)
    numbered = zip(numbers or range(1, len(rows) + 1), rows, strict=True)
    grid = (Row(number, one_line_cells(row, width)) for number, row in numbered)
    tables: list[Table] = []
    for block in blocks(grid, presume=presume_header, header_rows=header_rows, caption=caption):
        found = tuple(block.rows)
        shown = tuple(row.number for row in found) if numbers else ()
        table = Table(block.columns, tuple(row.cells for row in found), shown, block.caption)
        if block.continues:
            tables[-1] = _joined(tables[-1], table)
        else:
            tables.append(table)
    return tables


def as_markdown(table: Table) -> str:
    """Return it as Markdown with bars: the caption on a line before it, the header, a line of dashes, a line a row."""
    width = max((len(row) for row in (table.columns, *table.rows)), default=0)
    lines = [_line(table.columns, width), "|" + " --- |" * width, *(_line(row, width) for row in table.rows)]
    return "\n".join([table.caption, "", *lines] if table.caption else lines)


def one_line_cells(row: Sequence[str], width: int = 0) -> tuple[str, ...]:
    """Return a row's cells on one line each, without blanks around, at least `width` of them."""
    cells = [" ".join(cell.split()) for cell in row]
    return (*cells, *[""] * (width - len(cells)))


def _joined(table: Table, more: Table) -> Table:
    return Table(table.columns, table.rows + more.rows, table.numbers + more.numbers, table.caption)


def _line(cells: Sequence[str], width: int) -> str:
    padded = [*cells, *[""] * (width - len(cells))]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in padded) + " |"
