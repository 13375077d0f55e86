"""Tables of HTML as `Table`: header rows found, merged cells filled, captions kept; tables for layout told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.readers.html.tree import tag_of
from ingestion.readers.tables.table import Table

if TYPE_CHECKING:
    from lxml.html import HtmlElement

MAX_SPAN = 1000
MAX_CELLS = 500_000  # of a table with merged cells filled; beyond, they are filled no more
_LONG_CELL = 1000  # characters
_BLOCKS = ("table", "h1", "h2", "h3", "h4", "h5", "h6", "form", "section", "article")


@dataclass(frozen=True, slots=True)
class _Row:
    cells: list[HtmlElement]
    part: str  # thead, tbody or tfoot


def is_layout(table: HtmlElement) -> bool:
    """Tell whether a table only places blocks on the page, or has a single column or cell."""
    if table.get("role") in {"presentation", "none"}:
        return True
    rows = list(_rows(table))
    widths = [len(row.cells) for row in rows]
    if any(cell.tag == "th" for row in rows for cell in row.cells) or next(table.iter("caption"), None) is not None:
        return next(table.iter("table"), table) is not table or _has_nested(table) or not widths
    if max(widths, default=0) <= 1 or len(rows) <= 1:
        return True
    return any(_is_block(cell) for row in rows for cell in row.cells)


def table_of(table: HtmlElement, line_of: Callable[[HtmlElement], str]) -> Table:
    """Return the table; `line_of` gives a cell's text on one line."""
    rows = list(_rows(table))
    texts: dict[HtmlElement, str] = {cell: line_of(cell) for row in rows for cell in row.cells}
    grid = _filled(rows, texts)
    count = _header_rows(rows)
    body = [(grid[at], rows[at].part) for at in range(count, len(rows)) if any(grid[at])]
    body.sort(key=lambda row: row[1] == "tfoot")
    width = max(map(len, grid), default=0)
    caption = next((line_of(child) for child in table if child.tag == "caption"), "")
    cells = tuple((*row, *[""] * (width - len(row))) for row, _ in body)
    return Table(_columns(grid[:count], width), cells, caption=caption)


def _rows(table: HtmlElement) -> Iterator[_Row]:
    """Yield the rows of this table, not of those inside it."""
    for child in table:
        tag = tag_of(child)
        if tag == "tr":
            yield _Row(_cells(child), "tbody")
        elif tag in {"thead", "tbody", "tfoot"}:
            for row in child:
                if tag_of(row) == "tr":
                    yield _Row(_cells(row), tag)
                elif tag_of(row) in {"td", "th"}:
                    yield _Row([row], tag)


def _cells(row: HtmlElement) -> list[HtmlElement]:
    return [cell for cell in row if tag_of(cell) in {"td", "th"}]


def _has_nested(table: HtmlElement) -> bool:
    return any(inner is not table for inner in table.iter("table"))


def _is_block(cell: HtmlElement) -> bool:
    if any(True for _ in cell.iter(*_BLOCKS)) or any(
        "\n" in "".join(pre.itertext()).strip() for pre in cell.iter("pre")
    ):
        return True
    return sum(len(text.strip()) for text in cell.itertext()) > _LONG_CELL


def _filled(rows: Sequence[_Row], texts: dict[HtmlElement, str]) -> list[list[str]]:
    """Return the rows with merged cells repeated; one over the whole width stands once."""
    width = max((sum(_span(cell, "colspan") for cell in row.cells) for row in rows), default=0)
    if width * len(rows) > MAX_CELLS:
        return [[texts[cell] for cell in row.cells] for row in rows]
    grid: list[list[str]] = []
    pending: dict[int, tuple[int, str]] = {}  # column: rows left, text of a cell that reaches down
    for number, row in enumerate(rows):
        line: list[str] = []
        waiting = iter(row.cells)
        cell = next(waiting, None)
        while cell is not None or any(column >= len(line) for column in pending):
            at = len(line)
            if at in pending:
                left, text = pending.pop(at)
                line.append(text)
                if left > 1:
                    pending[at] = (left - 1, text)
                continue
            if cell is None:
                line.append("")
                continue
            span, down = _span(cell, "colspan"), min(_span(cell, "rowspan", len(rows) - number), len(rows) - number)
            whole = len(row.cells) == 1 and span >= width > 1
            repeated = [texts[cell], *[""] * (span - 1)] if whole else [texts[cell]] * span
            for column, text in enumerate(repeated, at):
                if down > 1:
                    pending[column] = (down - 1, text)
            line += [text for column, text in enumerate(repeated, at)]
            cell = next(waiting, None)
        grid.append(line[: max(width, 1) + len(pending)] if len(line) > MAX_SPAN else line)
    return grid


def _span(cell: HtmlElement, name: str, rest: int = 1) -> int:
    """Return a cell's span; 0 means all rows that are left."""
    given = cell.get(name, "1").strip()
    if not (given.isascii() and given.isdigit()):
        return 1
    return rest if given.strip("0") == "" else min(int(given[:6]), MAX_SPAN)


def _header_rows(rows: Sequence[_Row]) -> int:
    """Return how many rows at the top are a header: those of ``<thead>``, else of ``<th>`` alone, else of bold text."""
    if not rows or not any(row.cells for row in rows):
        return 0
    heads = next((at for at, row in enumerate(rows) if row.part != "thead"), len(rows))
    if heads == 0:
        heads = next(
            (at for at, row in enumerate(rows) if not row.cells or any(c.tag != "th" for c in row.cells)), len(rows)
        )
    if heads == 0 and len(rows) > 1 and all(map(_is_bold, rows[0].cells)) and not all(map(_is_bold, rows[1].cells)):
        heads = 1
    return heads if heads < len(rows) or len(rows) == 1 else 1


def _is_bold(cell: HtmlElement) -> bool:
    whole = "".join(cell.text_content().split())
    bold = "".join("".join("".join(inner.itertext()).split()) for inner in cell.iter("b", "strong"))
    return bool(whole) and whole == bold


def _columns(header: Sequence[Sequence[str]], width: int) -> tuple[str, ...]:
    """Return a name for each column, those of several header rows joined; a name that comes again is numbered."""
    if not header:
        return ()
    names: list[str] = []
    seen: dict[str, int] = {}
    for column in range(width):
        parts = [row[column] for row in header if column < len(row) and row[column]]
        name = " ".join(dict.fromkeys(parts))
        seen[name] = seen.get(name, 0) + 1
        names.append(name if not name or seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(names)
