"""Lines of a page's text, each with the words that it was made of, so that offsets lead back to places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from ingestion.readers.pdf.frames import Box
from ingestion.readers.pdf.segments import Line, Row, Segment, Span
from ingestion.readers.pdf.words import Word
from ingestion.readers.tables.table import Table, as_markdown

SENTENCE_END = (".", "!", "?", ":", "。", "\uff01", "\uff1f")
_PARAGRAPH = 1.45  # times the usual distance of lines


def lines_of(blocks: Sequence[Sequence[Row]]) -> list[Line]:
    """Return the lines of blocks in reading order."""
    lines: list[Line] = []
    for block in blocks:
        usual = _usual_distance(block)
        before: Box | None = None
        for row in block:
            line = _line(row)
            line.gap = line.table or _is_apart(before, line.box, usual)
            if before is None and lines:
                line.gap = line.gap or lines[-1].text.endswith(SENTENCE_END)
            before = line.box
            lines.append(line)
    return lines


def line_of(words: Sequence[Word]) -> Line:
    """Return words as a line, a blank between them."""
    spans, length, box = list[Span](), 0, words[0].box
    for word in words:
        length += bool(spans) and not word.glued
        spans.append(Span(length, length + len(word.text), word))
        length += len(word.text)
        box = box.with_box(word.box)
    return Line(text_of(words), box, spans)


def text_of(words: Iterable[Word]) -> str:
    """Return words with blanks between them, but none before those that are glued."""
    return "".join([word.text if word.glued else f" {word.text}" for word in words]).removeprefix(" ")


def table_line(table: Table, words: Iterable[Word], box: Box) -> Line:
    """Return a table as Markdown, its words found one after the other."""
    text, spans, place = as_markdown(table), [], 0
    for word in words:
        written = word.text.replace("|", "\\|")
        start = text.find(written, place)
        if start >= 0:
            place = start + len(written)
            spans.append(Span(start, place, word))
    return Line(text, box, spans, gap=True, table=True)


def _line(row: Row) -> Line:
    if row[0].line is not None:
        return row[0].line
    return line_of([word for segment in row for word in segment.words])


def _usual_distance(block: Sequence[Row]) -> float:
    tops = [_box(row).top for row in block]
    steps = [after - before for before, after in pairwise(tops) if after > before]
    return median(steps) if steps else 0.0


def _box(row: Sequence[Segment]) -> Box:
    return row[0].box


def _is_apart(before: Box | None, box: Box, usual: float) -> bool:
    if before is None:
        return False
    step = box.top - before.top
    return step > _PARAGRAPH * usual or step > _PARAGRAPH * 1.5 * max(before.height, box.height)
