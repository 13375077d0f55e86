"""Tables of Word: merged cells in their columns with their value repeated (ECMA-376 part 1, 17.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ingestion.readers.assembly import Piece
from ingestion.readers.office.ooxml import Element, attribute, child, children, local
from ingestion.readers.tables.table import as_markdown, tables_in
from ingestion.readers.word.styles import integer, is_on, value_of


class Story(Protocol):
    """What reads the blocks in a cell."""

    def pieces(self, container: Iterable[Element]) -> Iterator[Piece]:
        """Yield the blocks."""
        ...


_MOST_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell, the columns that it covers, and whether it goes on with the one above."""

    element: Element
    span: int
    continues: bool


def table_pieces(story: Story, table: Element) -> Iterator[Piece]:
    """Yield a table as one block; where a table only places text on the page, the blocks in its cells."""
    rows = list(_rows(table))
    if _is_layout(rows):
        for _, _, cells in rows:
            for cell in cells:
                yield from story.pieces(cell.element)
        return
    marked = [header for header, _, _ in rows]
    headers = next((at for at, header in enumerate(marked) if not header), len(marked))
    grid = _grid(story, rows)
    found = tables_in(grid, header_rows=headers if 0 < headers < len(rows) else None, caption=_caption(table))
    text = "\n\n".join(as_markdown(each) for each in found)
    if text.strip(" |-\n"):
        yield Piece(text)


def cell_text(story: Story, cell: Element) -> str:
    """Return a cell's text; a table in it has its rows between semicolons."""
    parts: list[str] = []
    for element in cell:
        if local(element) == "tbl":
            rows = _grid(story, list(_rows(element)))
            parts.append("; ".join(", ".join(filter(None, dict.fromkeys(row))) for row in rows))
        else:
            parts += [piece.text.strip() for piece in story.pieces([element])]
    return "\n".join(filter(None, parts))


def _rows(table: Element) -> Iterator[tuple[bool, int, list[Cell]]]:
    """Yield the rows that were not deleted: whether it is of the header, the columns before it, its cells."""
    for row in _within(table, "tr"):
        properties = child(row, "trPr")
        if properties is not None and any(True for _ in children(properties, "del")):
            continue
        before = integer(value_of(properties, "gridBefore"), 0)
        yield is_on(properties, "tblHeader"), min(before, _MOST_COLUMNS), [_cell(each) for each in _within(row, "tc")]


def _within(element: Element, name: str) -> Iterator[Element]:
    """Yield rows or cells, those in content controls and tracked insertions too."""
    for each in element:
        if local(each) == name:
            yield each
        elif local(each) in {"sdt", "sdtContent", "customXml", "ins", "moveTo"}:
            yield from _within(each, name)


def _cell(element: Element) -> Cell:
    properties = child(element, "tcPr")
    span = max(1, min(integer(value_of(properties, "gridSpan"), 1), _MOST_COLUMNS))
    merge = child(properties, "vMerge")
    across = child(properties, "hMerge")
    goes_on = merge is not None and attribute(merge, "val") != "restart"
    return Cell(element, span, goes_on or (across is not None and attribute(across, "val") != "restart"))


def _grid(story: Story, rows: list[tuple[bool, int, list[Cell]]]) -> list[list[str]]:
    grid: list[list[str]] = []
    for _, before, cells in rows:
        above = grid[-1] if grid else []
        row = [""] * before
        for cell in cells:
            text = cell_text(story, cell.element)
            if cell.continues and not text:
                text = _merged(cell, row, above)
            row += [text] * min(cell.span, max(_MOST_COLUMNS - len(row), 1))
        grid.append(row)
    return grid


def _merged(cell: Cell, row: list[str], above: list[str]) -> str:
    """Return the value that an empty cell goes on with: of the cell above, or of that to its left."""
    across = child(child(cell.element, "tcPr"), "hMerge")
    if across is not None:
        return row[-1] if row else ""
    return above[len(row)] if len(row) < len(above) else ""


def _is_layout(rows: list[tuple[bool, int, list[Cell]]]) -> bool:
    """Tell whether a table places blocks on the page: it has one cell, or tables stand side by side in one row."""
    cells = [cell for _, _, row in rows for cell in row]
    nested = any(any(True for _ in children(cell.element, "tbl")) for cell in cells)
    return len(cells) == 1 or (nested and (len(rows) == 1 or len(cells) == len(rows)))


def _caption(table: Element) -> str:
    properties = child(table, "tblPr")
    return " ".join((value_of(properties, "tblCaption") or "").split())
