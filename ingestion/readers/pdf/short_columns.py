"""A last column of a few lines beside a long one, as the last page of a text in columns has it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ingestion.readers.pdf.segments import Segment, same_line

_FEW = 0.34  # of the lines of the long column
_LONG = 8  # lines of the long column
_WORDS = 4  # of a line of prose
_FULL = 0.2  # of a column's width by which most of its lines end before its right edge
_STEP = 2.5  # heights from one line of the short column to the next, or by which a paragraph is indented
_HEADS = 2  # lines of the long column above the short one: a heading, say


def is_short_column(left: Sequence[Segment], right: Sequence[Segment]) -> bool:
    """Tell whether the right side of a gap is a few lines of prose beside the top of a long column of prose."""
    right = sorted(right, key=lambda segment: segment.box.top)
    if not right or len(left) < _LONG or len(right) > _FEW * len(left):
        return False
    return _is_running_text(left) and _is_paragraph(right) and _begins_beside(left, right[0])


def _is_running_text(segments: Sequence[Segment]) -> bool:
    """Tell whether lines are of prose, most of which reach the right edge of their column."""
    begin, edge = min(each.box.left for each in segments), max(each.box.right for each in segments)
    full = [each for each in segments if edge - each.box.right <= _FULL * (edge - begin)]
    words = sum(len(each.words) for each in segments)
    return 2 * len(full) >= len(segments) and words >= _WORDS * len(segments) and _is_one_each(segments)


def _is_one_each(segments: Sequence[Segment]) -> bool:
    """Tell whether few lines are in pieces, as the rows of a table are."""
    lines = {round(each.box.middle[1]) for each in segments}
    return len(segments) - len(lines) <= len(segments) // _LONG


def _is_paragraph(right: Sequence[Segment]) -> bool:
    """Tell whether lines follow each other closely, begin at one edge, and are prose."""
    height, begin = right[0].box.height, min(each.box.left for each in right)
    steps = [after.box.top - before.box.top for before, after in pairwise(right)]
    return (
        all(each.line is None and each.box.left - begin <= _STEP * height for each in right)
        and all(0.5 * height < step <= _STEP * height for step in steps)
        and max(len(each.words) for each in right) >= _WORDS
    )


def _begins_beside(left: Sequence[Segment], first: Segment) -> bool:
    """Tell whether the short column begins where the long one does, headings above it aside."""
    above = [each for each in left if each.box.middle[1] < first.box.top]
    return len(above) <= _HEADS and (not above or any(same_line(each.box, first.box) for each in left))
