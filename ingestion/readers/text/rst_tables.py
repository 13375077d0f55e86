"""Tables of reStructuredText, drawn with ``+---+`` or ``=== ===``, written with bars as other tables are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ingestion.readers.tables.table import as_markdown, tables_in

_BORDER = re.compile(r"(?P<indent> *)(?:=+(?: +=+)+|\+-+(?:\+-+)*\+) *")
_RULE = re.compile(r"-+(?: +-+)*")

Grid = tuple[list[list[str]], int]


def with_bars(text: str) -> str:
    """Return a text whose tables are tables of Markdown; those with merged cells, and those in code, stay."""
    lines = text.split("\n")
    return "\n".join(_lines(lines)) if any(map(_BORDER.fullmatch, lines)) else text


def _lines(lines: Sequence[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        border = _BORDER.fullmatch(lines[at])
        end = _end(lines, at) if border else at
        indent = border["indent"] if border else ""
        written = _written([line[len(indent) :] for line in lines[at:end]]) if end > at + 1 else []
        if written and not _is_code(lines, at, len(indent)):
            yield from (indent + line for line in written)
        else:
            end = max(end, at + 1)
            yield from lines[at:end]
        at = end


def _end(lines: Sequence[str], start: int) -> int:
    """Return the line after the table that begins at a border; `start` if it does not end."""
    border = lines[start].rstrip()
    if border.lstrip().startswith("+"):
        end = start
        while end < len(lines) and lines[end].lstrip().startswith(("+", "|")):
            end += 1
        return end
    last = start
    for at in range(start + 1, len(lines)):
        if lines[at].rstrip() == border:
            last = at
            if at + 1 == len(lines) or not lines[at + 1].strip():
                return at + 1
        elif _BORDER.fullmatch(lines[at]):
            break  # of another table
    return last + 1 if last > start else start


def _is_code(lines: Sequence[str], at: int, indent: int) -> bool:
    """Tell whether a table is indented below what begins code, and so is an example of one."""
    while indent and at > 0:
        at -= 1
        line = lines[at]
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            begins = line.strip()
            return (begins.endswith("::") or begins.startswith(".. ")) and not begins.startswith(".. table::")
    return False


def _written(lines: Sequence[str]) -> list[str]:
    grid = _of_grid(lines) if lines[0].startswith("+") else _of_simple(lines)
    if grid is None or not grid[0]:
        return []
    tables = tables_in(grid[0], header_rows=grid[1] or None)
    return [line for table in tables for line in (*as_markdown(table).split("\n"), "")][:-1]


def _of_grid(lines: Sequence[str]) -> Grid | None:
    """Return the cells, and how many rows are the header; None if cells are merged."""
    edges = [place for place, char in enumerate(lines[0]) if char == "+"]
    rows: list[list[str]] = []
    cells: list[str] | None = None
    header = 0
    for line in lines:
        if line.startswith("+"):
            if [place for place, char in enumerate(line) if char == "+"] != edges or not set(line.strip()) <= set(
                "+-="
            ):
                return None
            rows += [cells] if cells else []
            header = len(rows) if "=" in line else header
            cells = None
        elif any(place >= len(line) or line[place] != "|" for place in edges):
            return None
        else:
            parts = [line[start + 1 : end].strip() for start, end in pairwise(edges)]
            cells = [f"{one} {other}".strip() for one, other in zip(cells or [""] * len(parts), parts, strict=True)]
    return rows, header


def _of_simple(lines: Sequence[str]) -> Grid | None:
    """Return the cells, and how many rows are the header; None if cells are merged."""
    border = lines[0].rstrip()
    starts = [found.start() for found in re.finditer("=+", border)]
    rows: list[list[str]] = []
    header = 0
    for line in lines[1:-1]:
        if line.rstrip() == border:
            header = header or len(rows)
        elif _RULE.fullmatch(line.strip()) and len(line.split()) < len(starts):
            return None  # below cells that are merged
        elif line.strip():
            if any(line[start - 1 : start].strip() for start in starts[1:]):
                return None
            parts = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
            if parts[0] or not rows:
                rows.append(parts)
            else:
                rows[-1] = [f"{one} {other}".strip() for one, other in zip(rows[-1], parts, strict=True)]
    return rows, header
