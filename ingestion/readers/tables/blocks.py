"""Cuts the rows of a sheet into tables, row by row, so that a million rows need no memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice, takewhile

from ingestion.readers.tables.cell_kinds import CellKind
from ingestion.readers.tables.headers import SAMPLE, Layout, agrees, kinds_of, layout_of

_MOST_LINES = 3  # of a title that a blank row parts from its table
_NEAR = 2  # rows from a title to its table: one is blank
_NOTE = re.compile(
    r"(?:notes?|sources?|remarks?|quellen?|anmerkung|hinweis|fußnote|nota|fuente|fonte)\b|\*", re.IGNORECASE
)
_NO_NAMES = frozenset({"", "-", "\u2013", "\u2014"})
_SHORT = 30  # characters of the only value of a table's last row; longer is a note below the table


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a sheet.

    Attributes:
        number: from 1, as the program that made the file numbers it.
        cells: as shown, on one line each.
        marked: its style is that of a header.
        caption: of the table that begins with it; or empty.

    """

    number: int
    cells: tuple[str, ...]
    marked: bool = False
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A table, or what goes on with one below a blank row.

    Attributes:
        caption: what its title rows say, those above a blank row too; or empty.
        columns: see `ingestion.readers.tables.table.Table`.
        rows: of data; to be read before the next block.
        continues: the columns are those of the block before.

    """

    caption: str
    columns: tuple[str, ...]
    rows: Iterable[Row]
    continues: bool = False


def blocks(rows: Iterable[Row], *, presume: bool, header_rows: int | None = None, caption: str = "") -> Iterator[Block]:
    """Yield the blocks of a grid; see `ingestion.readers.tables.table.tables_in`."""
    titles: list[Row] = []
    columns: tuple[str, ...] = ()
    kinds: list[CellKind | None] = []
    for filled, group in groupby(rows, key=lambda row: any(row.cells)):
        if not filled:
            continue
        head = list(islice(group, SAMPLE))
        if header_rows is None and _are_titles(head):
            yield from _untitled(titles)
            titles = head
            continue
        width = max(len(_stripped(row.cells)) for row in head)
        if titles and (width == 1 or not _heads(titles, head)):
            yield from _untitled(titles)
            titles = []
        layout = _layout(head, presume=presume and width > 1, header_rows=header_rows)
        body = head[layout.titles + layout.headers :]
        own = kinds_of([row.cells for row in body])
        continues = bool(columns) and not titles and layout == Layout(0, 0) and _more(head, own, kinds)
        if not continues:
            columns = _names(head, layout, width)
            kinds = own
        named = [row.caption for row in head[: layout.titles + 1]]
        above = captioned([caption, *(title_of(row.cells) for row in [*titles, *head[: layout.titles]]), *named])
        yield Block(above, columns, chain(body, group), continues)  # noqa: B031 (once, unless the group ended)
        titles, presume, header_rows, caption = [], False, None, ""
    if caption:
        titles = [Row(0, (caption,)), *titles]
    if columns and len(titles) == 1 and len(titles[0].cells[0]) <= _SHORT and ":" not in titles[0].cells[0]:
        yield Block("", columns, titles, continues=True)
    else:
        yield from _untitled(titles)


def captioned(titles: Sequence[str]) -> str:
    """Return the caption that title rows make."""
    return " \u2013 ".join(title for title in titles if title)


def title_of(cells: Sequence[str]) -> str:
    """Return the text of a title row: its cells, equal ones once."""
    return " ".join(dict.fromkeys(cell for cell in cells if cell))


def column_names(headers: Sequence[Sequence[str]], width: int) -> tuple[str, ...]:
    """Join header rows to a name for each column, equal ones made different: ``Amount``, ``Amount (2)``."""
    filled = [_spread(row, headers[at + 1] if at + 1 < len(headers) else ()) for at, row in enumerate(headers)]
    parts = ([row[at] for row in filled if at < len(row) and row[at] not in _NO_NAMES] for at in range(width))
    return _different([" ".join(dict.fromkeys(column)) for column in parts])


def _are_titles(rows: Sequence[Row]) -> bool:
    """Tell whether rows between blank ones are lines of a title: one text each, in the first column."""
    return len(rows) <= _MOST_LINES and all(row.cells[0] and len(set(filter(None, row.cells))) == 1 for row in rows)


def _heads(titles: Sequence[Row], head: Sequence[Row]) -> bool:
    """Tell whether lines are the title of the table below them: it is near, and they are no notes."""
    near = head[0].number - titles[-1].number <= _NEAR
    return near and not any(_NOTE.match(row.cells[0]) for row in titles)


def _untitled(titles: Sequence[Row]) -> Iterator[Block]:
    """Yield lines that turned out to be the title of nothing."""
    if titles:
        yield Block("", (), [replace(row, cells=(title_of(row.cells),)) for row in titles])


def _layout(head: Sequence[Row], *, presume: bool, header_rows: int | None) -> Layout:
    if header_rows is not None:
        return Layout(0, min(header_rows, len(head)))
    return layout_of([row.cells for row in head], presume=presume, marked=_marked(head))


def _marked(head: Sequence[Row]) -> int:
    """Count the marked rows from the first that has two cells; 0 if all rows are marked, which marks none."""
    start = next((at for at, row in enumerate(head) if len(set(filter(None, row.cells))) > 1), len(head))
    marked = sum(1 for _ in takewhile(lambda row: row.marked, head[start:]))
    return marked if start + marked < len(head) else 0


def _more(head: Sequence[Row], own: Sequence[CellKind | None], kinds: Sequence[CellKind | None]) -> bool:
    """Tell whether rows below a blank one are more of the table above it, a line of totals say."""
    return len(set(filter(None, head[0].cells))) > 1 and agrees(own, kinds)


def _names(head: Sequence[Row], layout: Layout, width: int) -> tuple[str, ...]:
    headers = [row.cells for row in head[layout.titles : layout.titles + layout.headers]]
    return column_names(headers, width) if headers else ()


def _stripped(cells: Sequence[str]) -> Sequence[str]:
    """Return the cells without empty ones at the end."""
    last = max((at for at, cell in enumerate(cells) if cell), default=-1)
    return cells[: last + 1]


def _spread(row: Sequence[str], below: Sequence[str]) -> list[str]:
    """Fill the gaps of a row of groups from the left, above names."""
    spread = [*row, *[""] * (len(below) - len(row))]
    for at in range(1, len(spread)):
        if not spread[at] and at < len(below) and below[at] and below[at - 1]:
            spread[at] = spread[at - 1]
    return spread


def _different(names: Sequence[str]) -> tuple[str, ...]:
    taken: set[str] = set()
    different: list[str] = []
    for name in names:
        count, free = 1, name
        while name and free in taken:
            count += 1
            free = f"{name} ({count})"
        taken.add(free)
        different.append(free)
    return tuple(different)
