"""The order in which a page is read: columns one after the other, headings across them between their bands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

from ingestion.readers.pdf.segments import GAP, Row, Segment, rows_of, same_line
from ingestion.readers.pdf.short_columns import is_short_column

_MIN_ROWS = 3  # that a gutter separates
_MIN_SHARE = 0.12  # of all rows
_MAX_DEPTH = 6
_BUCKET = 4.0  # points
_ALIGNED = 1.0  # points between the lower edges of what stands on one baseline
_MOSTLY = 0.8
_CELL_WORDS = 4  # of a table between columns
_ASIDE = 3.0  # points between where a column and a table across begin
_HEAD_GAP = 2.0  # heights from a running head to the columns


def blocks_of(segments: Sequence[Segment], depth: int = 0) -> list[list[Row]]:
    """Return blocks of rows in reading order."""
    if not segments:
        return []
    rows = rows_of(segments)
    gutter = _gutter(rows) if depth < _MAX_DEPTH else None
    if gutter is None:
        return [rows]
    if depth == 0 and (edge := _running_head(rows)):
        return (
            [[rows[0]], *blocks_of([s for row in rows[1:] for s in row])]
            if edge > 0
            else [*blocks_of([s for row in rows[:-1] for s in row]), [rows[-1]]]
        )
    sides = [segment for segment in segments if not _crosses(segment, gutter)]
    across = rows_of(segment for segment in segments if _crosses(segment, gutter))
    if depth == 0 and (bands := _tables_across(rows, gutter)):
        return _around_bands(segments, bands)
    blocks: list[list[Row]] = []
    for row in across:
        top = row[0].box.top
        above = [s for s in sides if s.box.middle[1] < top and not _beside(s, row)]
        beside = [s for s in sides if _beside(s, row)]
        sides = [s for s in sides if s not in above and s not in beside]
        blocks += _band(above, gutter, depth)
        blocks.append(rows_of([*row, *beside]))
    blocks += _band(sides, gutter, depth)
    return _joined(blocks)


def _tables_across(rows: Sequence[Row], gutter: float) -> list[list[Row]]:
    """Return the runs of rows that are tables as wide as both columns, for those are not read column by column.

    Beside each other, a table in each column would begin where its column does.
    """
    runs = [list(run) for is_wide, run in groupby(rows, key=lambda row: _is_wide_row(row, gutter)) if is_wide]
    runs = [run for run in runs if len(run) >= _MIN_ROWS]
    inside = {id(row) for run in runs for row in run}
    lefts = [min(s.box.left for s in row if s.box.left >= gutter) for row in rows if _is_pair(row, gutter, inside)]
    if len(lefts) < _MIN_ROWS:
        return []
    begin = min(lefts)
    return [run for run in runs if all(abs(_first_right(row, gutter) - begin) > _ASIDE for row in run)]


def _is_wide_row(row: Row, gutter: float) -> bool:
    """Tell whether a row has more cells than a line of each column would be, all of them short."""
    return (
        len(row) > 2  # noqa: PLR2004 (a line of each column)
        and all(segment.line is None and len(segment.words) <= _CELL_WORDS for segment in row)
        and any(segment.box.right <= gutter for segment in row)
        and any(segment.box.left >= gutter for segment in row)
    )


def _is_pair(row: Row, gutter: float, inside: set[int]) -> bool:
    return id(row) not in inside and any(segment.box.left >= gutter for segment in row)


def _first_right(row: Row, gutter: float) -> float:
    return min(segment.box.left for segment in row if segment.box.left >= gutter)


def _around_bands(segments: Sequence[Segment], bands: Sequence[list[Row]]) -> list[list[Row]]:
    """Return the blocks of a page that tables divide into bands, one below the other."""
    taken = {id(segment) for band in bands for row in band for segment in row}
    rest = [segment for segment in segments if id(segment) not in taken]
    blocks: list[list[Row]] = []
    for band in bands:
        top = band[0][0].box.top
        blocks += blocks_of([segment for segment in rest if segment.box.middle[1] < top])
        rest = [segment for segment in rest if segment.box.middle[1] >= top]
        blocks.append(band)
    return [*blocks, *blocks_of(rest)]


def _running_head(rows: Sequence[Row]) -> int:
    """Return 1 if the first row is a running head above the columns, -1 if the last is one below, else 0."""
    for sign, (row, other) in ((1, (rows[0], rows[1])), (-1, (rows[-1], rows[-2]))):
        gap = sign * (other[0].box.top - row[0].box.top)
        if len(row) > 1 and gap > _HEAD_GAP * row[0].box.height:
            return sign
    return 0


def _joined(blocks: list[list[Row]]) -> list[list[Row]]:
    """Join neighbouring blocks of single rows, the lines across the gutter."""
    joined: list[list[Row]] = []
    for block in blocks:
        last = joined[-1] if joined else None
        if last and len(block) == 1 and block[0][0].line is None and _follows(last[-1], block[0]):
            last.append(block[0])
        else:
            joined.append(block)
    return joined


def _follows(before: Row, row: Row) -> bool:
    gap = row[0].box.top - before[0].box.bottom
    return before[0].line is None and abs(before[0].box.left - row[0].box.left) < 2 * GAP * row[0].box.height > gap


def _crosses(segment: Segment, gutter: float) -> bool:
    return segment.box.left < gutter < segment.box.right


def _beside(segment: Segment, row: Row) -> bool:
    return any(same_line(segment.box, other.box) for other in row if other.line is None)


def _band(segments: list[Segment], gutter: float, depth: int) -> list[list[Row]]:
    left, right = _sides(segments, gutter)
    if left and right and _is_tabular(left, right):
        return [rows_of(segments)]
    return [*blocks_of(left, depth + 1), *blocks_of(right, depth + 1)]


def _gutter(rows: Sequence[Row]) -> float | None:
    """Return the place of the vertical gap that separates the most rows into columns of prose, if there is one."""
    gaps = [(one.box.right, other.box.left) for row in rows for one, other in _neighbours(row)]
    wide = [(left, right) for left, right in gaps if right - left > 0]
    if not wide:
        return None
    votes = Counter({place: sum(left < place < right for left, right in wide) for place in _places(wide)})
    for place, count in votes.most_common(4):
        if count < max(_MIN_ROWS, _MIN_SHARE * len(rows)):
            return _before_short_column(rows, place)
        if not _is_tabular(*_sides([segment for row in rows for segment in row], place)):
            return place
    return None


def _before_short_column(rows: Sequence[Row], place: float) -> float | None:
    """Return where a last column of a few lines is parted from a long one; None if it is none.

    Running heads are looked past. Lines further down may reach over the middle of the gap, not to the column.
    """
    while len(rows) > 1 and (edge := _running_head(rows)):
        rows = rows[1:] if edge > 0 else rows[:-1]
    segments = [segment for row in rows for segment in row]
    begin = min((segment.box.left for segment in segments if segment.box.left >= place), default=place) - _ALIGNED
    for at in (place, begin):
        left, right = _sides(segments, at)
        crossing = len(segments) - len(left) - len(right)
        if crossing <= _MIN_SHARE * len(rows) and is_short_column(left, right):
            return at
    return None


def _sides(segments: Sequence[Segment], place: float) -> tuple[list[Segment], list[Segment]]:
    return (
        [segment for segment in segments if segment.box.right <= place],
        [segment for segment in segments if segment.box.left >= place],
    )


def _neighbours(row: Row) -> list[tuple[Segment, Segment]]:
    ordered = sorted(row, key=lambda segment: segment.box.left)
    return list(pairwise(ordered))


def _places(gaps: Sequence[tuple[float, float]]) -> list[float]:
    """Return at most 60 places to try: the middles of the gaps, one of each few points."""
    middles = Counter(round((left + right) / 2 / _BUCKET) for left, right in gaps)
    return [bucket * _BUCKET + 0.01 for bucket, _ in middles.most_common(60)]


def _is_tabular(left: list[Segment], right: list[Segment]) -> bool:
    """Tell whether two sides of a gap are read row by row, as the cells of a table or labels and values."""
    if min(len(left), len(right)) < _MIN_ROWS:
        return not is_short_column(left, right)
    words = min(_words_each(left), _words_each(right))
    aligned = _aligned(left, right)
    one_by_one = _is_one_by_one(left, right)
    if one_by_one and aligned < _MOSTLY:
        return words < 1.3  # noqa: PLR2004 (words)
    if one_by_one:
        return words < 2.5  # noqa: PLR2004
    return words < (4 if aligned >= _MOSTLY else 2.5)


def _words_each(segments: Sequence[Segment]) -> float:
    """Return the mean number of words a line of one side; what has no letters counts half."""
    total = sum(
        1 if any(char.isalpha() for char in word.text) else 0.5 for segment in segments for word in segment.words
    )
    return total / max(len({round(segment.box.middle[1]) for segment in segments}), 1)


def _is_one_by_one(left: list[Segment], right: list[Segment]) -> bool:
    """Tell whether the page draws one side wholly before the other."""
    one, other = {s.order for s in left}, {s.order for s in right}
    return max(one) < min(other) or max(other) < min(one)


def _aligned(left: list[Segment], right: list[Segment]) -> float:
    """Return the share of the lines of the shorter side that stand on a baseline of the other."""
    few, many = sorted((left, right), key=len)
    baselines = sorted(segment.box.bottom for segment in many)
    return sum(_has_near(baselines, segment.box.bottom) for segment in few) / len(few)


def _has_near(values: list[float], value: float) -> bool:
    from bisect import bisect_left

    place = bisect_left(values, value - _ALIGNED)
    return place < len(values) and values[place] <= value + _ALIGNED
