"""A sheet's rows, one after the other, as the sheet shows them (SpreadsheetML, ECMA-376 part 1, 18.3)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingestion.readers.office.ooxml import Element, Package, attribute, child, children, forget, local
from ingestion.readers.sheets.number_formats import GENERAL, general, shown, shown_text
from ingestion.readers.sheets.workbook import Style, Workbook, rich_text
from ingestion.readers.tables.blocks import Row

MAX_COLUMNS = 1000
_MOST_RANGES = 100_000
_MOST_OPEN = 200  # merged ranges that one row crosses
_CELL = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_WINDOW = 1 << 20
_ASIDE = re.compile(rb"<(?:\w+:)?(?P<name>mergeCell|autoFilter|pane|col)\s(?P<attributes>[^>]{0,600})>", re.DOTALL)
_ATTRIBUTE = re.compile(rb"([\w:]+)\s*=\s*[\"']([^\"']*)[\"']")


@dataclass(frozen=True, slots=True)
class Range:
    """A rectangle of cells; columns from 0, rows from 1, ends included."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass
class Counts:
    """What of a sheet is not in its text, or not as it was."""

    formulas: int = 0
    hidden_rows: int = 0
    hidden_columns: int = 0
    cut_rows: int = 0


@dataclass
class Asides:
    """What a sheet says of its cells before and after them.

    Attributes:
        merges: by their first row.
        hidden: columns, from 0.
        frozen: so many rows stay in sight.
        filtered: rows, from 1, that begin a filter or a table.
        captions: of defined tables by their first row.
        comments: by row and column.

    """

    merges: dict[int, list[Range]] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    frozen: int = 0
    filtered: set[int] = field(default_factory=set)
    captions: dict[int, str] = field(default_factory=dict)
    comments: dict[tuple[int, int], str] = field(default_factory=dict)


class SheetRows:
    """The rows of a sheet; what is left out is counted while they are read."""

    def __init__(self, workbook: Workbook, part: str, *, hidden: bool) -> None:
        self._workbook = workbook
        self._part = part
        self._hidden = hidden
        self.counts = Counts()
        self.asides = _asides(workbook.package, part)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows, and a blank one for each gap between them."""
        last = 0
        open_merges: list[tuple[Range, str]] = []
        for number, element in self._elements():
            if number > last + 1 and last:
                yield Row(last + 1, ("",))
            last = number
            if element.get("hidden") in {"1", "true"} and not self._hidden:
                self.counts.hidden_rows += any(local(part) in {"v", "is"} for cell in element for part in cell)
                continue
            cells, marked = self._cells(element, number)
            open_merges = self._merged(cells, number, open_merges)
            yield self._row(number, cells, marked=marked)

    def _elements(self) -> Iterator[tuple[int, Element]]:
        from lxml import etree

        last = 0
        with self._workbook.package.open(self._part) as stream:
            try:
                for _, element in etree.iterparse(stream, tag="{*}row", resolve_entities=False, huge_tree=True):
                    last = _digits(element.get("r")) or last + 1
                    yield last, element
                    forget(element)
            except (etree.XMLSyntaxError, OSError, EOFError, ValueError):
                self._workbook.package.damaged(self._part)

    def _row(self, number: int, cells: dict[int, str], *, marked: bool) -> Row:
        if not self._hidden:
            for at in self.asides.hidden & cells.keys():
                self.counts.hidden_columns += bool(cells.pop(at))
        width = max(cells, default=0) + 1
        if width > MAX_COLUMNS:
            self.counts.cut_rows += 1
        kept = [at for at in range(min(width, MAX_COLUMNS)) if self._hidden or at not in self.asides.hidden]
        shown_cells = tuple(" ".join(cells.get(at, "").split()) for at in kept) or ("",)
        frozen = number <= self.asides.frozen and sum(map(bool, shown_cells)) > 1
        marked = marked or frozen or number in self.asides.filtered
        return Row(number, shown_cells, marked, self.asides.captions.get(number, ""))

    def _cells(self, row: Element, number: int) -> tuple[dict[int, str], bool]:
        """Return a row's cells by column, and whether all that have a value are bold."""
        cells: dict[int, str] = {}
        bold = True
        at = -1
        for element in row:
            at = _column(element.get("r")) if element.get("r") else at + 1
            style = self._workbook.style(_digits(element.get("s")) or 0)
            text = self._text(element, style)
            comment = self.asides.comments.get((number, at))
            if text or comment:
                cells[at] = f"{text} [comment: {comment}]".strip() if comment else text
                bold = bold and style.bold
        return cells, bold and bool(cells)

    def _text(self, cell: Element, style: Style) -> str:
        kind = cell.get("t")
        value = formula = None
        for part in cell:
            name = local(part)
            if name == "v":
                value = part.text
            elif name == "f":
                formula = part.text or ""
            elif name == "is":
                return shown_text(rich_text(part), style.code)
        if value is None:
            if formula is not None:
                self.counts.formulas += 1
            return f"={formula}" if formula else ""
        return self._value(value, kind, style)

    def _value(self, value: str, kind: str | None, style: Style) -> str:
        if kind == "s":
            index = _digits(value)
            strings = self._workbook.strings
            return shown_text(strings[index], style.code) if index is not None and index < len(strings) else ""
        if kind == "b":
            return {"1": "TRUE", "true": "TRUE", "0": "FALSE", "false": "FALSE"}.get(value, value)
        if kind in {"str", "e", "d", "inlineStr"}:
            return shown_text(value, style.code) if kind == "str" else value
        number = _parsed(value)
        if number is None:
            return value
        if style.code == GENERAL:
            return general(number)
        return shown(number, style.code, since_1904=self._workbook.since_1904)

    def _merged(self, cells: dict[int, str], number: int, above: list[tuple[Range, str]]) -> list[tuple[Range, str]]:
        """Fill the merged cells of a row; return the ranges that go on below it, with their value."""
        begun = [(each, cells.get(each.left, "")) for each in self.asides.merges.get(number, ())]
        current = [(each, value) for each, value in [*above, *begun] if each.bottom >= number and value][:_MOST_OPEN]
        for each, value in current:
            for at in range(each.left, min(each.right + 1, MAX_COLUMNS)):
                cells.setdefault(at, value)
        return current


def _asides(package: Package, part: str) -> Asides:
    asides = Asides()
    for name, values in _scanned(package, part):
        if name == "mergeCell" and (area := area_of(values.get("ref", ""))):
            asides.merges.setdefault(area.top, []).append(area)
        elif name == "autoFilter" and (area := area_of(values.get("ref", ""))):
            asides.filtered.add(area.top)
        elif name == "pane" and values.get("state", "").startswith("frozen"):
            asides.frozen = min(int(float(values.get("ySplit") or 0)), 20)
        elif name == "col" and values.get("hidden") in {"1", "true"}:
            last = min(_digits(values.get("max")) or 0, 20_000)
            asides.hidden.update(range((_digits(values.get("min")) or 1) - 1, last))
    _add_tables(package, part, asides)
    asides.comments = comments_of(package, part)
    return asides


def _scanned(package: Package, part: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the elements about cells; merged ones come after the cells that they are about, in a file of any size."""
    found = 0
    try:
        with package.open(part) as stream:
            rest = b""
            while (window := stream.read(_WINDOW)) and found < _MOST_RANGES:
                window = rest + window
                cut = max(window.rfind(b"<"), 0)
                for match in _ASIDE.finditer(window, 0, cut):
                    found += 1
                    pairs = _ATTRIBUTE.findall(match["attributes"])
                    yield (
                        match["name"].decode(),
                        {key.decode(): value.decode("utf-8", "replace") for key, value in pairs},
                    )
                rest = window[cut:] if len(window) - cut < _WINDOW else b""
    except (OSError, EOFError, ValueError, KeyError):
        package.damaged(part)


def _add_tables(package: Package, part: str, asides: Asides) -> None:
    for name in package.related(part, "table"):
        root = package.xml(name)
        area = area_of(attribute(root, "ref") or "")
        if area is None:
            continue
        if attribute(root, "headerRowCount") != "0":
            asides.filtered.add(area.top)
        called = attribute(root, "displayName") or ""
        if not re.fullmatch(r"\D+\d+", called):  # the program's own: Table1
            asides.captions[area.top] = called


def comments_of(package: Package, part: str) -> dict[tuple[int, int], str]:
    """Return a sheet's comments by row and column; of a thread all that was said."""
    comments: dict[tuple[int, int], str] = {}
    for name in package.related(part, "comments"):
        listed = child(package.xml(name), "commentList")
        for comment in children(listed, "comment") if listed is not None else ():
            text = child(comment, "text")
            _say(comments, comment, rich_text(text) if text is not None else "")
    threads: dict[tuple[int, int], str] = {}
    for name in package.related(part, "threadedComment"):
        root = package.xml(name)
        for comment in children(root, "threadedComment") if root is not None else ():
            text = child(comment, "text")
            _say(threads, comment, (text.text or "") if text is not None else "")
    return comments | threads


def _say(comments: dict[tuple[int, int], str], comment: Element, text: str) -> None:
    area = area_of(comment.get("ref") or "")
    if area is not None and text.strip():
        at = (area.top, area.left)
        comments[at] = " ".join([*([comments[at]] if at in comments else []), *text.split()])


def area_of(reference: str) -> Range | None:
    """Return the rectangle that ``A1:C3``, or one cell, names; None if it is no such reference."""
    first, _, last = reference.partition(":")
    begin, end = _CELL.fullmatch(first), _CELL.fullmatch(last or first)
    if begin is None or end is None:
        return None
    return Range(int(begin[2]), _column(begin[1]), int(end[2]), _column(end[1]))


def _parsed(value: str) -> float | int | None:
    """Return a number; None if it is none, or larger than a double."""
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(value) if value.lstrip("-").isdigit() else number


def _column(reference: str) -> int:
    number = 0
    for char in reference[:3]:
        if not "A" <= char <= "Z":
            break
        number = 26 * number + ord(char) - 64
    return number - 1


def _digits(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004
