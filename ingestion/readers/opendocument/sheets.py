"""OpenDocument spreadsheets: each sheet a heading, each row a paragraph of ``column: value`` lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from ingestion.readers.assembly import Assembly, add_rows
from ingestion.readers.office.ooxml import Element, attribute, child, children, local
from ingestion.readers.opendocument.text import MAX_COLUMNS, OpenDocument, Walk, finished, walk_of
from ingestion.readers.tables.blocks import Row, blocks
from ingestion.types import Extracted, ReadOptions

_MOST_REPEATED = 10_000  # rows of one sheet that are copies of others


def read_ods(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a spreadsheet's values as its sheets show them.

    Raises:
        Unreadable: it is encrypted, damaged, or a zip bomb perhaps.

    """
    document = OpenDocument(data)
    assembly = Assembly()
    walk = walk_of(document, assembly, options)
    hidden = _hidden_tables(document)
    left_out = 0
    for table in children(document.body("spreadsheet"), "table"):
        if attribute(table, "style-name") in hidden and not options.hidden:
            left_out += 1
            continue
        with assembly.section(attribute(table, "name") or "Sheet", 1):
            add_rows(assembly, blocks(_rows(walk, table, options), presume=False), level=2)
            for shapes in children(table, "shapes"):
                assembly.paragraph(walk.text(shapes))
    if left_out:
        assembly.warn("hidden-left-out", f"{left_out} hidden {'sheet is' if left_out == 1 else 'sheets are'} left out.")
    return finished(assembly, walk, name, "")


def _hidden_tables(document: OpenDocument) -> set[str | None]:
    styles = (each for each in document.content.iter() if local(each) == "style")
    return {
        attribute(style, "name")
        for style in styles
        if attribute(child(style, "table-properties"), "display") == "false"
    }


def _rows(walk: Walk, table: Element, options: ReadOptions) -> Iterator[Row]:
    """Yield the rows, those that are stored once for several as often as they are shown; blank ones once."""
    sheet = _Sheet(walk, table, hidden=options.hidden)
    number = copies = 0
    for row, headed in _table_rows(table):
        repeated = _count(row, "number-rows-repeated")
        cells = sheet.cells(row)
        shown = bool(cells) and any(cells)
        if shown and attribute(row, "visibility") in {"collapse", "filter"} and not options.hidden:
            sheet.hidden_rows += repeated
        elif shown:
            wanted = min(repeated, 1 + max(0, _MOST_REPEATED - copies))
            copies += wanted - 1
            if wanted < repeated:
                walk.assembly.warn("truncated", f"A row stands in a sheet {repeated} times; it is read {wanted} times.")
            for at in range(wanted):
                yield Row(number + at + 1, cells, marked=headed)
        else:
            yield Row(number + 1, ("",))
        number += repeated
    sheet.say()


class _Sheet:
    def __init__(self, walk: Walk, table: Element, *, hidden: bool) -> None:
        self._walk = walk
        self._hidden = set() if hidden else set(_hidden_columns(table))
        self._covered: dict[int, tuple[int, str]] = {}
        self.hidden_rows = 0
        self._hidden_cells = 0
        self._cut = 0

    def cells(self, row: Element) -> tuple[str, ...]:
        """Return a row's cells as shown, merged ones filled."""
        cells: list[str] = []
        for cell in children(row, "table-cell", "covered-table-cell"):
            repeated = _count(cell, "number-columns-repeated")
            text = " ".join(self._walk.text(cell).split()) or _formula(cell)
            text = " ".join([text, *self._walk.taken_asides()]).strip()
            if len(cells) + repeated > MAX_COLUMNS:
                self._cut += bool(text)
                repeated = max(0, MAX_COLUMNS - len(cells))
            if local(cell) == "covered-table-cell" and not text:
                for _ in range(repeated):
                    cells.append(self._take_covered(len(cells), cells))
                continue
            down, across = _count(cell, "number-rows-spanned"), _count(cell, "number-columns-spanned")
            for _ in range(repeated):
                for at in range(len(cells), min(len(cells) + across, MAX_COLUMNS)):
                    self._covered[at] = (down - 1, text)
                cells.append(text)
        self._hidden_cells += sum(bool(cells[at]) for at in self._hidden if at < len(cells))
        kept = [cell for at, cell in enumerate(cells) if at not in self._hidden]
        while kept and not kept[-1]:
            kept.pop()
        return tuple(kept)

    def _take_covered(self, at: int, cells: list[str]) -> str:
        left, value = self._covered.get(at, (0, ""))
        if left > 0:
            self._covered[at] = (left - 1, value)
            return value
        return cells[-1] if cells else ""

    def say(self) -> None:
        """Say what was left out."""
        warn = self._walk.assembly.warn
        if self.hidden_rows:
            warn("hidden-left-out", f"Hidden rows of a sheet are left out: {self.hidden_rows}.")
        if self._hidden_cells:
            warn("hidden-left-out", f"Cells in hidden columns are left out: {self._hidden_cells}.")
        if self._cut:
            warn("truncated", f"Rows wider than {MAX_COLUMNS} columns: {self._cut}; the columns beyond are left out.")


def _formula(cell: Element) -> str:
    """Return what a cell without text has: its value, else its formula."""
    value = attribute(cell, "string-value") or attribute(cell, "value") or attribute(cell, "date-value")
    formula = attribute(cell, "formula") or ""
    return value or (f"={formula.partition('=')[2]}" if formula and attribute(cell, "value-type") is None else "")


def _table_rows(element: Element, *, headed: bool = False) -> Iterator[tuple[Element, bool]]:
    for each in element:
        name = local(each)
        if name == "table-row":
            yield each, headed
        elif name in {"table-header-rows", "table-rows", "table-row-group"}:
            yield from _table_rows(each, headed=headed or name == "table-header-rows")


def _hidden_columns(table: Element) -> Iterator[int]:
    at = 0
    for column in (each for each in table.iter() if local(each) == "table-column"):
        repeated = _count(column, "number-columns-repeated")
        if attribute(column, "visibility") in {"collapse", "filter"}:
            yield from range(at, min(at + repeated, MAX_COLUMNS))
        at += repeated


def _count(element: Element, name: str) -> int:
    text = attribute(element, name) or "1"
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 7 else 1  # noqa: PLR2004 (digits)
