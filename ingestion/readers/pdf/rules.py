"""Ruled tables: the cells between straight lines, and the words in them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ingestion.readers.pdf.frames import Box
from ingestion.readers.pdf.shapes import Edge
from ingestion.readers.pdf.words import Word

_NEAR = 3.0  # points between edges that are one
_REACH = 4.0  # points that an edge may end before a corner
_MAX_LINES = 400  # of a grid in one direction
_MAX_CELLS = 6000


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of a ruled table; `owner` maps a place to the place of the merged cell that it belongs to."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    owner: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def box(self) -> Box:
        """The table's outline."""
        return Box(self.xs[0], self.ys[0], self.xs[-1], self.ys[-1])

    def cell(self, point: tuple[float, float]) -> tuple[int, int] | None:
        """Return (row, column) of the merged cell at a point."""
        if not self.box.holds(point):
            return None
        row = min(max(bisect_right(self.ys, point[1]) - 1, 0), len(self.ys) - 2)
        column = min(max(bisect_right(self.xs, point[0]) - 1, 0), len(self.xs) - 2)
        return self.owner[row][column]


def grids(across: Sequence[Edge], down: Sequence[Edge]) -> list[Grid]:
    """Return the grids of at least two rows and two columns that the lines make."""
    rows, columns = _merged(across), _merged(down)
    if len(rows) < 3 or len(columns) < 3:  # noqa: PLR2004 (lines around two cells)
        return []
    found = [_grid(*group) for group in _connected(rows, columns)]
    return [grid for grid in found if grid is not None]


def _merged(edges: Iterable[Edge]) -> list[Edge]:
    """Join edges that continue or cover each other."""
    merged: list[Edge] = []
    lanes: list[list[Edge]] = []
    for edge in sorted(edges):
        if lanes and edge.at - lanes[-1][0].at <= _NEAR:
            lanes[-1].append(edge)
        else:
            lanes.append([edge])
    for lane in lanes:
        at = sum(edge.at for edge in lane) / len(lane)
        start, end = None, 0.0
        for edge in sorted(lane, key=lambda edge: edge.start):
            if start is None or edge.start > end + _NEAR:
                if start is not None:
                    merged.append(Edge(at, start, end))
                start, end = edge.start, edge.end
            end = max(end, edge.end)
        if start is not None:
            merged.append(Edge(at, start, end))
    return merged


def _meet(across: Edge, down: Edge) -> bool:
    return (
        across.start - _REACH <= down.at <= across.end + _REACH
        and down.start - _REACH <= across.at <= down.end + _REACH
    )


def _connected(rows: list[Edge], columns: list[Edge]) -> list[tuple[list[Edge], list[Edge]]]:
    """Group lines that meet, directly or over others."""
    rows, columns = rows[:_MAX_LINES], columns[:_MAX_LINES]
    left_rows, left_columns = set(range(len(rows))), set(range(len(columns)))
    groups = []
    while left_rows:
        found_rows: set[int] = set()
        found_columns: set[int] = set()
        todo = [(True, left_rows.pop())]
        while todo:
            is_row, index = todo.pop()
            if is_row:
                found_rows.add(index)
                met = {other for other in left_columns if _meet(rows[index], columns[other])}
                left_columns -= met
            else:
                found_columns.add(index)
                met = {other for other in left_rows if _meet(rows[other], columns[index])}
                left_rows -= met
            todo += [(not is_row, other) for other in met]
        groups.append(([rows[n] for n in found_rows], [columns[n] for n in found_columns]))
    return groups


def _positions(edges: Iterable[Edge]) -> tuple[float, ...]:
    positions: list[float] = []
    for at in sorted(edge.at for edge in edges):
        if not positions or at - positions[-1] > _NEAR:
            positions.append(at)
    return tuple(positions)


def _grid(rows: list[Edge], columns: list[Edge]) -> Grid | None:
    ys, xs = _positions(rows), _positions(columns)
    if len(ys) < 3 or len(xs) < 3 or len(ys) * len(xs) > _MAX_CELLS:  # noqa: PLR2004 (lines around two cells)
        return None
    merging = _Merging(len(ys) - 1, len(xs) - 1)
    for row, (top, bottom) in enumerate(pairwise(ys)):
        for column, (left, right) in enumerate(pairwise(xs)):
            if column and not _covers(columns, left, (top + bottom) / 2):
                merging.join((row, column - 1), (row, column))
            if row and not _covers(rows, top, (left + right) / 2):
                merging.join((row - 1, column), (row, column))
    owner = merging.owners()
    if len({row for line in owner for row, _ in line}) < 2 or len({c for line in owner for _, c in line}) < 2:  # noqa: PLR2004
        return None
    return Grid(xs, ys, owner)


def _covers(edges: Iterable[Edge], at: float, middle: float) -> bool:
    return any(abs(edge.at - at) <= _NEAR and edge.start <= middle <= edge.end for edge in edges)


class _Merging:
    """Cells without a line between them become one, under the name of the first."""

    def __init__(self, rows: int, columns: int) -> None:
        self._parent = {(row, column): (row, column) for row in range(rows) for column in range(columns)}
        self._shape = rows, columns

    def _root(self, cell: tuple[int, int]) -> tuple[int, int]:
        while (parent := self._parent[cell]) != cell:
            self._parent[cell] = self._parent[parent]
            cell = parent
        return cell

    def join(self, first: tuple[int, int], second: tuple[int, int]) -> None:
        one, other = sorted((self._root(first), self._root(second)))
        self._parent[other] = one

    def owners(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        rows, columns = self._shape
        return tuple(tuple(self._root((row, column)) for column in range(columns)) for row in range(rows))


def cells_of(grid: Grid, words: Iterable[Word]) -> tuple[dict[tuple[int, int], list[Word]], list[Word]]:
    """Return the words of each cell, and those that are in none."""
    cells: dict[tuple[int, int], list[Word]] = {}
    rest = []
    for word in words:
        cell = grid.cell(word.box.middle)
        if cell is None:
            rest.append(word)
        else:
            cells.setdefault(cell, []).append(word)
    return cells, rest
