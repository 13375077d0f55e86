"""Finds what of a block of rows is its title, its header and its data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from statistics import fmean

from ingestion.readers.tables.cell_kinds import CellKind, is_period, kind_of_cell, year_of
from ingestion.readers.tables.header_words import names_a_column

SAMPLE = 60
"""Rows of a block that are looked at."""
MOST_HEADER_ROWS = 4
MOST_TITLE_ROWS = 12
_LONG = 60

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a block begins: so many rows of titles, then so many of its header; data is below."""

    titles: int
    headers: int


@dataclass(frozen=True, slots=True)
class Column:
    """What the data of a column has in common.

    Attributes:
        kind: of at least seven of ten values; None if there is none such, or no value.
        values: how often each occurs.
        lower: whether all words begin with a small letter, or none; None if some do.

    """

    kind: CellKind | None
    values: Counter[str]
    lower: bool | None


def layout_of(rows: Rows, *, presume: bool, marked: int = 0) -> Layout:
    """Return the layout of the first rows of a block that has no blank rows.

    Args:
        rows: some, of which `SAMPLE` are looked at.
        presume: where nothing tells, the first row is a header.
        marked: so many rows, below the titles, have a header's style.

    """
    rows = [[cell.strip() for cell in row] for row in rows[:SAMPLE]]
    titles = _titles(rows)
    body = rows[titles:]
    if marked and len(body) > marked:
        return Layout(titles, marked)
    return Layout(titles, _headers(body, presume=presume))


def kinds_of(rows: Rows) -> list[CellKind | None]:
    """Return the kind of each column's values."""
    return [column.kind for column in _columns(rows)]


def agrees(kinds: Sequence[CellKind | None], others: Sequence[CellKind | None]) -> bool:
    """Tell whether values of some kinds could stand below those of others: none contradicts."""
    return len(kinds) <= len(others) and all(
        one is None or other is None or one == other for one, other in zip(kinds, others, strict=False)
    )


def _titles(rows: Rows) -> int:
    """Count the rows above the table that are one text each, be it merged over columns."""
    count = sum(1 for _ in takewhile(_is_title, rows[: MOST_TITLE_ROWS + 1]))
    return count if count < min(len(rows), MOST_TITLE_ROWS + 1) else 0  # titles all the way down are a list


def _is_title(row: Sequence[str]) -> bool:
    return bool(row[0]) and len(set(filter(None, row))) == 1


def _headers(rows: Rows, *, presume: bool) -> int:
    if len(rows) < 2 or _width(rows) == 0:  # noqa: PLR2004 (a header and what it is of)
        return 0
    gaps = _has_gaps(rows[0])
    columns = _columns(rows[_groups(rows) if gaps else 1 :])
    first = evidence(rows[0], columns, rows[1:])
    groups = gaps and len(rows) > 2 and _names_below(rows, columns)  # noqa: PLR2004 (groups, names, data)
    if not groups and (first < 0 or (first == 0 and not presume)):
        return 0
    count = 1
    while count < min(MOST_HEADER_ROWS, len(rows) - 1) and _continues(rows, count, columns):
        count += 1
    return count


def _groups(rows: Rows) -> int:
    """Return after how many rows data is surely met, for its kinds: a table may have three rows of names."""
    return max(1, min(3, len(rows) // 2))


def _continues(rows: Rows, at: int, columns: Sequence[Column]) -> bool:
    """Tell whether the row is part of the header that the rows before it began."""
    return _are_units(rows[at], _columns(rows[at + 1 :])) or (
        _has_gaps(rows[at - 1]) and _names_below(rows[at - 1 :], columns)
    )


def _names_below(rows: Rows, columns: Sequence[Column]) -> bool:
    """Tell whether the second row names what the first groups: it fills its gaps, with names."""
    above, row = rows[0], rows[1]
    gaps = [at for at, cell in enumerate(above) if not cell or (at and cell == above[at - 1])]
    filled = [at for at in gaps if at < len(row) and row[at]]
    fills = any(at and at in filled for at in gaps)
    return fills and not _has_values(row, columns) and evidence(row, columns, rows[2:]) > 0


def _has_values(row: Sequence[str], columns: Sequence[Column]) -> bool:
    """Tell whether a cell is of the kind of the numbers or dates below it."""
    return any(
        column.kind not in {None, "text", "blank"} and kind_of_cell(cell) == column.kind and not is_period(cell)
        for cell, column in zip(row, columns, strict=False)
    )


def _has_gaps(row: Sequence[str]) -> bool:
    inner = row[1:]
    return any(not cell for cell in inner) or any(one and one == other for one, other in pairwise(row))


def _are_units(row: Sequence[str], columns: Sequence[Column]) -> bool:
    """Tell whether a row below the names has units: short words above numbers, or brackets."""
    filled = [
        (cell, column) for cell, column in zip(row, columns, strict=False) if cell and cell not in "-\u2013\u2014"
    ]
    bracketed = bool(filled) and all(cell[0] + cell[-1] in {"()", "[]"} for cell, _ in filled)
    short = all(
        len(cell) <= 12 and column.kind == "number" and kind_of_cell(cell) in {"text", "code"}  # noqa: PLR2004
        for cell, column in filled
    )
    numbers = [column for column in columns if column.kind == "number"]
    return bracketed or (short and bool(numbers) and len(filled) >= len(numbers))


def evidence(row: Sequence[str], columns: Sequence[Column], below: Rows) -> float:
    """Weigh whether a row names the columns; above 0 it does, below 0 it is data."""
    periods = _periods(row, below)
    weights = [
        _weight(cell, column, period=at in periods)
        for at, (cell, column) in enumerate(zip(row, columns, strict=False))
        if cell
    ]
    return sum(weights) - (1.5 if _mixed_case_as_data(row, columns) else 0)


def _weight(cell: str, column: Column, *, period: bool) -> float:
    kind = kind_of_cell(cell)
    if kind == "link":
        return -3
    if period:
        return 1.5
    if column.kind not in {None, "text", "blank"}:
        return -2 if kind == column.kind else {"text": 2, "code": 2, "flag": 1}.get(kind, 0)
    if kind in {"number", "date"}:
        return -1.5
    return _weight_among_words(cell, column) + (1.5 if names_a_column(cell) else 0)


def _weight_among_words(cell: str, column: Column) -> float:
    """Weigh a word above words: data would recur where values do, and be about as long."""
    count = column.values.total()
    if cell in column.values:
        return -2
    if not count:
        return 0
    new = sum(1 for often in column.values.values() if often == 1) / count  # Good and Turing's chance of a new value
    lengths = fmean(map(len, column.values))
    contrast = 1 if lengths > max(_LONG, 4 * len(cell)) or len(cell) > max(_LONG, 4 * lengths) else 0
    if cell[:1].isalpha() and column.lower is not None and _lower(cell) is not column.lower:
        contrast += 1
    return contrast + (1 if count >= 4 and new < 0.25 else 0)  # noqa: PLR2004 (values, and a chance)


def _periods(row: Sequence[str], below: Rows) -> set[int]:
    """Return which cells are years, months or other members of a run, and not because all rows are such."""
    named = {index for index, cell in enumerate(row) if is_period(cell)}
    at = named or _count_up(row)
    if not at or any(_count_up(other) == at if not named else _all_periods(other, at) for other in below[:5]):
        return set()
    years = [year for index in at if (year := year_of(row[index])) is not None]
    ordered = len(years) < 2 or years in (sorted(years), sorted(years, reverse=True))  # noqa: PLR2004 (a run)
    return at if ordered or len(at) < len(row) else set()


def _count_up(row: Sequence[str]) -> set[int]:
    at = [index for index, cell in enumerate(row) if cell.isascii() and cell.isdigit() and len(cell) <= 4]  # noqa: PLR2004
    up = all(int(row[two]) - int(row[one]) == 1 and two - one == 1 for one, two in pairwise(at))
    return set(at) if len(at) >= 3 and up and at[0] > 0 else set()  # noqa: PLR2004 (two may be chance)


def _all_periods(row: Sequence[str], at: set[int]) -> bool:
    return all(index < len(row) and is_period(row[index]) for index in at)


def _mixed_case_as_data(row: Sequence[str], columns: Sequence[Column]) -> bool:
    """Tell whether small and capital letters begin the cells just as they do the data below: names are of one case."""
    cases = [(_lower(cell), column.lower) for cell, column in zip(row, columns, strict=False) if cell[:1].isalpha()]
    return {True, False} <= {own for own, _ in cases} and all(own is below for own, below in cases)


def _lower(cell: str) -> bool:
    return cell[:1].islower()


def _columns(rows: Rows) -> list[Column]:
    return [_column([row[at] for row in rows if at < len(row) and row[at]]) for at in range(_width(rows))]


def _column(values: Sequence[str]) -> Column:
    kinds = Counter(kind for value in values if (kind := kind_of_cell(value)) != "blank")
    most, often = kinds.most_common(1)[0] if kinds else (None, 0)
    cases = {_lower(value) for value in values if value[:1].isalpha()}
    return Column(
        kind=most if often >= 0.7 * kinds.total() else None,
        values=Counter(values),
        lower=cases.pop() if len(cases) == 1 else None,
    )


def _width(rows: Rows) -> int:
    return max(map(len, rows), default=0)
