"""Tables of a page: those ruled with lines, and rows whose parts stand in columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ingestion.readers.pdf.frames import Box
from ingestion.readers.pdf.lines import table_line, text_of
from ingestion.readers.pdf.rules import Grid, cells_of
from ingestion.readers.pdf.segments import Row, Segment, rows_of, segments_of
from ingestion.readers.pdf.words import Word
from ingestion.readers.tables.table import Table

_FILLED = 0.4  # share of the cells that have text, below which lines are no table
_LONGEST_CELL = 600  # characters; more is prose in a frame
_NUMBER = re.compile(r"[-+−–(]?[^\w\s]?\s?\d[\d.,:'’ /%-]*\s?[)%€$£]?|[-–—]|n/?a", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_LEADERS = re.compile(r"\.{4,}|(?:\. ){4,}|…{2,}")
_MIN_ROWS = 3
_COLUMN_GAP = 0.9  # of the font's height
_NEAR = 3.0  # points within which edges of a column are one
_SHORT_CELL = 45  # characters of most cells

Cell = list[Word]


def ruled_tables(grids: Iterable[Grid], words: list[Word]) -> tuple[list[Segment], list[Word]]:
    """Return the tables in the grids as segments, and the words outside of them."""
    tables = []
    for grid in sorted(grids, key=lambda grid: grid.box.width * grid.box.height):  # those within others first
        cells, rest = cells_of(grid, words)
        ordered = {place: _in_order(cell) for place, cell in cells.items()}
        if _is_table(grid, ordered):
            tables.append(_segment(_filled(grid, ordered), grid.box, words))
            words = rest
    return tables, words


def aligned_tables(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, runs of those whose parts stand in the same columns replaced by tables."""
    done: list[Row] = []
    place = 0
    while place < len(rows):
        run = _run(rows, place)
        if len(run) < _MIN_ROWS or not _is_aligned_table(run):
            done.append(rows[place])
            place += 1
            continue
        place += len(run)
        if done and (head := _fitted(done[-1], _columns(run))) and _is_close(done[-1], rows[place - len(run)]):
            run, _ = [head, *run], done.pop()
        words = [word for row in run for part in row for word in part]
        done.append([_segment([[_in_order(part) for part in row] for row in run], _around(words), words)])
    return done


def _segment(parts: list[list[Cell]], box: Box, words: Sequence[Word]) -> Segment:
    """Return a table as a segment."""
    table, used = _table(parts)
    members = {id(word) for word in used}
    order = next((place for place, word in enumerate(words) if id(word) in members), 0)
    return Segment(used, box, order, table_line(table, used, box))


def _table(parts: list[list[Cell]]) -> tuple[Table, list[Word]]:
    """Return the table, and its words as often and in the order in which they are in it."""
    texts = [[text_of(cell) for cell in row] for row in parts]
    caption, caption_words = "", list[Word]()
    if len(texts) > 2 and len(texts[0]) > 1 and texts[0][0] and len(set(texts[0])) == 1:  # noqa: PLR2004
        caption, caption_words = texts[0][0], parts[0][0]  # a title over all columns
        texts, parts = texts[1:], parts[1:]
    heads = _header_rows(texts)
    columns = _names(texts[:heads])
    words = [*caption_words, *(word for cell in _stacked(parts[:heads]) for word in cell)]
    words += [word for row in parts[heads:] for cell in row for word in cell]
    return Table(columns, tuple(tuple(row) for row in texts[heads:]), caption=caption), words


def _header_rows(texts: list[list[str]]) -> int:
    """Return how many rows at the top name the columns."""
    if len(texts) < 2 or any(_is_value(cell) for cell in texts[0]):  # noqa: PLR2004 (a header and a row)
        return 0
    repeated = any(one and one == other for one, other in pairwise(texts[0]))
    if repeated and len(texts) > 2 and not any(_is_value(cell) for cell in texts[1]):  # noqa: PLR2004
        return 2
    return 1 if sum(map(bool, texts[0])) * 2 >= len(texts[0]) else 0


def _is_value(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and not _YEAR.fullmatch(text)


def _names(heads: list[list[str]]) -> tuple[str, ...]:
    """Join the header rows of each column; equal names get numbers."""
    names: list[str] = []
    for cells in zip(*heads, strict=True):
        name = " ".join(dict.fromkeys(cell for cell in cells if cell))
        count = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({count + 1})" if count and name else name)
    return tuple(names)


def _stacked(heads: list[list[Cell]]) -> list[Cell]:
    """Return each column's header words as `_names` joins them."""
    stacked = []
    for cells in zip(*heads, strict=True):
        different = {text_of(cell): cell for cell in reversed(cells) if cell}
        stacked.append([word for cell in cells if any(cell is one for one in different.values()) for word in cell])
    return stacked


def _in_order(words: Sequence[Word]) -> Cell:
    """Return a cell's words line by line."""
    rows = rows_of(segments_of(words))
    return [word for row in rows for segment in row for word in segment.words]


def _is_table(grid: Grid, cells: dict[tuple[int, int], Cell]) -> bool:
    places = {owner for row in grid.owner for owner in row}
    lengths = [sum(len(word.text) + 1 for word in cell) for cell in cells.values()]
    shown = sum(sum(len(word.text) for word in cells.get(owner, [])) for row in grid.owner for owner in row)
    return (
        len(cells) >= _FILLED * len(places)
        and len({row for row, _ in cells}) > 1
        and len({column for _, column in cells}) > 1
        and max(lengths) <= _LONGEST_CELL
        and shown <= 4 * sum(lengths)
    )


def _filled(grid: Grid, cells: dict[tuple[int, int], Cell]) -> list[list[Cell]]:
    """Return all cells row by row, merged ones repeated; without rows and columns that are empty."""
    table = [[cells.get(owner, []) for owner in row] for row in grid.owner]
    used = [column for column in range(len(table[0])) if any(row[column] for row in table)]
    rows = [[row[column] for column in used] for row in table]
    return [row for before, row in zip([None, *rows], rows, strict=False) if any(row) and not _same(before, row)]


def _same(before: list[Cell] | None, row: list[Cell]) -> bool:
    """Tell whether two rows are one that a line of another column divides."""
    return before is not None and all(one is other for one, other in zip(before, row, strict=True))


def _run(rows: Sequence[Row], start: int) -> list[list[Cell]]:
    """Return the parts of rows from `start` that stand in its columns, each close below the one before it."""
    run = [_parts(rows[start])]
    for before, row in pairwise(rows[start:]):
        parts = _parts(row)
        if len(run[0]) < 2 or not _is_close(before, row):  # noqa: PLR2004 (columns)
            break
        fitted = parts if len(parts) == len(run[0]) else _fitted(row, _columns(run))
        if not fitted:
            break
        run.append(fitted)
    return run


def _is_close(before: Row, row: Row) -> bool:
    return row[0].line is None and row[0].box.top - before[0].box.bottom < 1.6 * row[0].box.height


def _columns(run: Sequence[Sequence[Cell]]) -> list[Box]:
    """Return the box of each column so far."""
    return [_around(word for part in column for word in part) for column in zip(*run, strict=True)]


def _fitted(row: Row, columns: Sequence[Box]) -> list[Cell]:
    """Spread the fewer parts of a row over columns, empty cells between them; empty if they do not fit."""
    parts = _parts(row)
    if not (1 < len(parts) < len(columns)) or len(columns) < 3:  # noqa: PLR2004 (one may be missing)
        return []
    cells: list[Cell] = [[] for _ in columns]
    for part in parts:
        box = _around(part)
        below = [n for n, column in enumerate(columns) if box.left < column.right and box.right > column.left]
        if len(below) != 1 or cells[below[0]]:
            return []
        cells[below[0]] = part
    return cells


def _parts(row: Row) -> list[list[Word]]:
    """Split a row at its wide gaps."""
    if row[0].line is not None:
        return []
    parts: list[list[Word]] = []
    for segment in row:
        for word in segment.words:
            if parts and word.box.left - parts[-1][-1].box.right <= _COLUMN_GAP * word.box.height:
                parts[-1].append(word)
            else:
                parts.append([word])
    return parts


def _is_aligned_table(run: Sequence[Sequence[Cell]]) -> bool:
    texts = [[text_of(part) for part in row] for row in run]
    if len(run[0]) < 2 or any(_LEADERS.search(cell) for row in texts for cell in row):  # noqa: PLR2004 (columns)
        return False
    columns = list(zip(*texts, strict=True))
    short = sum(len(cell) <= _SHORT_CELL for row in texts for cell in row)
    if short < 0.9 * sum(map(len, texts)) or not _stand_in_columns(run):
        return False
    numeric = sum(_is_numeric(column) for column in columns)
    if len(columns) == 2:  # noqa: PLR2004 (labels and values)
        return len(run) > _MIN_ROWS and _is_numeric(columns[1]) and any(map(str.isalpha, "".join(columns[0])))
    return numeric > 0 or len(run) > _MIN_ROWS


def _is_numeric(column: Sequence[str]) -> bool:
    filled = [cell for cell in column[1:] if cell]
    return bool(filled) and sum(bool(_NUMBER.fullmatch(cell)) for cell in filled) >= 0.8 * len(filled)


def _stand_in_columns(run: Sequence[Sequence[Cell]]) -> bool:
    """Tell whether each column's parts end or begin at one place, and no column reaches into the next."""
    columns = [[_around(part) for part in column if part] for column in zip(*run, strict=True)]
    apart = all(max(box.right for box in one) < min(box.left for box in other) for one, other in pairwise(columns))
    return apart and all(_is_flush(column) for column in columns)


def _is_flush(boxes: list[Box]) -> bool:
    edges = (
        [box.left for box in boxes],
        [box.right for box in boxes],
        [(box.left + box.right) / 2 for box in boxes],
    )
    return len(boxes) < _MIN_ROWS or any(max(side[1:]) - min(side[1:]) <= _NEAR for side in edges)


def _around(words: Iterable[Word]) -> Box:
    box: Box | None = None
    for word in words:
        box = word.box if box is None else box.with_box(word.box)
    if box is None:
        msg = "no words"
        raise ValueError(msg)
    return box
