"""Paragraphs that no space parts: their first line is indented, or the last line of the one before ends early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ingestion.readers.pdf.segments import Line, is_leftward

SENTENCE_END = (".", "!", "?", ":", "。", "\uff01", "\uff1f")
_CLOSING = "\"'”’»)]"
_MIN_LINES = 4  # of prose
_MOSTLY = 0.45  # of the lines of prose are as long as the column is wide: paragraphs may have two lines each
_SURELY = 0.6  # of them, where no line is indented: verses have short lines
_LONG = 0.8  # of the column's width
_SHARE = 0.25  # of the lines begin at the column's edge
_INDENT = (0.6, 4.0)  # heights of a line
_ROOM = 1.0  # heights of a line left behind the next word, had it stood in this line


def mark_paragraphs(lines: Sequence[Line]) -> None:
    """Mark the lines of a column of prose that begin a paragraph."""
    prose = [line for line in lines if not line.table and line.spans]
    if len(prose) < _MIN_LINES or is_leftward(prose[0].text):
        return
    left, right = _edge(prose), max(line.box.right for line in prose)
    long = sum(line.box.right - left > _LONG * (right - left) for line in prose)
    if long < _MOSTLY * len(prose):
        return
    unindented = long >= _SURELY * len(prose)
    for before, line, following in zip(lines, lines[1:], [*lines[2:], None], strict=False):
        if not (line.gap or line.table or before.table) and _begins(
            before, line, following, (left, right), unindented=unindented
        ):
            line.gap = True


def _begins(before: Line, line: Line, following: Line | None, edges: tuple[float, float], *, unindented: bool) -> bool:
    """Tell whether a line begins a paragraph, of those without an indent only if such are expected."""
    left, right = edges
    ended, early = _ends(before), _ends_early(before, line, right)
    if _is_indented(line, left):
        has_room = following is None or following.gap or not _is_indented(following, left) or _ends(line)
        return (ended or early) and has_room
    return unindented and ended and early and not line.text[:1].islower() and not _is_indented(before, left)


def _ends(line: Line) -> bool:
    return line.text.rstrip(_CLOSING).endswith(SENTENCE_END)


def _edge(lines: Sequence[Line]) -> float:
    """Return where the column begins: the first place, to a point, at which many lines do."""
    places = Counter(round(line.box.left) for line in lines)
    return min((place for place, count in places.items() if count >= _SHARE * len(lines)), default=min(places))


def _ends_early(before: Line, line: Line, right: float) -> bool:
    """Tell whether the next line's first word would have had room."""
    return before.box.right + line.spans[0].word.box.width + _ROOM * line.box.height < right if line.spans else False


def _is_indented(line: Line, left: float) -> bool:
    return _INDENT[0] * line.box.height < line.box.left - left < _INDENT[1] * line.box.height
