"""The blocks of a text that are cut only where they alone exceed a chunk: tables, fenced code, list items, rows.

The text may be Markdown, what a reader made of another format, or plain text: marks at the start of a line tell. A row
is what readers of spreadsheets and records make of one, a paragraph of ``column: value`` lines. An unclosed fence is
text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["prose", "table", "code", "item", "row"]

MAX_CAPTION = 200  # characters
_LONGEST_FENCE = 16  # marks; a longer fence is closed by as many

_DASHES = r"(?=[^\n]*\|)\|?+[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$"
_NAMED_VALUE = r"[^\W\n][^:\n|]{0,99}:[ ]\S"
_MARK = re.compile(
    rf"""^(?P<indent>[ \t>]*+)(?:
      (?P<fence>`{{3,}}+(?![^\n]*`)|~{{3,}}+)
    | (?P<dashes>{_DASHES})
    | (?P<row>\|)
    | (?P<record>(?:(?<=\n\n)|\A){_NAMED_VALUE})
    | (?P<item>(?:[-*+•‣◦]|\d{{1,3}}[.)])[ \t]++(?=\S))
    )""",
    re.VERBOSE | re.MULTILINE,
)
_NAMED_VALUES = re.compile(rf"(?:{_NAMED_VALUE}[^\n]*(?:\n|\Z)){{2,}}+(?=\n|\Z)")
_DASHES_LINE = re.compile(rf"^[ \t>]*+{_DASHES}", re.MULTILINE)
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}[ \t]")
_NAMED_TABLE = re.compile(r"\W*(?:table|tab\.|tabelle|tableau|tabla|tabella|tabel|tabela)\s*[\w.:-]*\d", re.IGNORECASE)
_SENTENCE_END = (".", "!", "?", "。", "！", "？")  # noqa: RUF001 (wide stops)


@dataclass(frozen=True, slots=True)
class Block:
    """A block, ``text[start:end]``; of a table, the caption line is before `body`, where the header line begins."""

    kind: Kind
    start: int
    end: int
    body: int
    has_header: bool = False


def has_tables(text: str) -> bool:
    """Tell whether a text may have a table in Markdown."""
    return "|" in text and _DASHES_LINE.search(text) is not None


def blocks(text: str, start: int, end: int, *, rows: Sequence[tuple[int, int]] = ()) -> Iterator[Block]:
    """Yield the blocks of ``text[start:end]`` in order; together they contain all of it but white space.

    Args:
        text: the document's.
        start: of the part to look at, where a line begins.
        end: likewise.
        rows: as in `Extracted.rows`; those that begin a paragraph are a block each, others lines of tables.

    """
    scanner = _Scanner(text, end)
    for place in range(bisect_left(rows, (start, 0)), bisect_left(rows, (end, 0))):
        row = rows[place][0]
        if row < start or not _begins_paragraph(text, row):
            continue  # a line of a table
        following = rows[place + 1][0] if place + 1 < len(rows) else end
        blank = text.find("\n\n", row, min(following, end))
        last = blank if blank >= 0 else min(following, end)
        yield from scanner.scan(start, row)
        yield Block("row", row, last, row)
        start = last
    yield from scanner.scan(start, end)


def _begins_paragraph(text: str, offset: int) -> bool:
    return offset == 0 or text[max(0, offset - 2) : offset] == "\n\n"


class _Scanner:
    """Finds blocks by the marks at the start of lines, in time linear in the text."""

    def __init__(self, text: str, end: int) -> None:
        self._text = text
        self._end = end
        self._unclosed: dict[str, int] = {}  # shortest fence of each kind that nothing closes

    def scan(self, start: int, end: int) -> Iterator[Block]:
        position = start
        while mark := _MARK.search(self._text, position, end):
            block = self._block(mark, start, end)
            if block is None:
                position = self._line_end(mark.end(), end)
                continue
            if start < block.start:
                yield Block("prose", start, block.start, start)
            yield block
            start = position = block.end
        if start < end:
            yield Block("prose", start, end, start)

    def _block(self, mark: re.Match[str], start: int, end: int) -> Block | None:
        if mark["fence"]:
            closed = self._closed(mark, end)
            return Block("code", mark.start(), closed, mark.start()) if closed else None
        if mark["dashes"]:
            return self._table(mark, start, end)
        if mark["row"]:
            return self._rows_or_table(mark, start, end)
        if mark["record"]:
            record = _NAMED_VALUES.match(self._text, mark.start(), end)
            return Block("row", mark.start(), record.end(), mark.start()) if record else None
        return Block("item", mark.start(), self._item_end(mark, end), mark.start())

    def _closed(self, mark: re.Match[str], end: int) -> int | None:
        """Return the end of the fence that closes one."""
        sign, length = mark["fence"][0], min(len(mark["fence"]), _LONGEST_FENCE)
        if self._unclosed.get(sign, _LONGEST_FENCE + 1) <= length:
            return None
        closing = re.compile(rf"^[ \t>]*+{sign}{{{length},}}+[ \t]*$", re.MULTILINE)
        found = closing.search(self._text, self._line_end(mark.end(), end), end)
        if found is None:
            self._unclosed[sign] = length
        return found.end() if found else None

    def _table(self, dashes: re.Match[str], start: int, end: int) -> Block | None:
        if dashes.start() <= start:
            return None
        header = self._line_start(dashes.start() - 1, start)
        if "|" not in self._text[header : dashes.start()]:
            return None
        last = self._rows_end(self._line_end(dashes.end(), end), end)
        return Block("table", self._caption(header, start), last, header, has_header=True)

    def _rows_or_table(self, row: re.Match[str], start: int, end: int) -> Block:
        """Return a table that begins with a line with bars; or lines with bars, such as the rest of a table."""
        last = self._line_end(row.end(), end)
        dashes = _MARK.match(self._text, last + 1, end) if last < end else None
        table = self._table(dashes, start, end) if dashes is not None and dashes["dashes"] else None
        return table or Block("table", row.start(), self._rows_end(last, end), row.start())

    def _rows_end(self, last: int, end: int) -> int:
        """Return the end of the rows that follow a line which ends at `last`."""
        while last < end:
            following = self._line_end(last + 1, end)
            if not self._is_row(last + 1, following, end):
                break
            last = following
        return last

    def _is_row(self, start: int, stop: int, end: int) -> bool:
        """Tell whether a line is a table's next row; not if it is the header of another table."""
        if self._text.find("|", start, stop) < 0:
            return False
        below = _DASHES_LINE.match(self._text, stop + 1, end) if stop < end else None
        return below is None or "---" not in below[0]  # a row may have dashes for values that are not there

    def _caption(self, header: int, start: int) -> int:
        """Return the start of a table's caption: a short line before it, by itself; else of its header."""
        before = self._text[max(start, header - MAX_CAPTION - 3) : header]
        stripped = before.rstrip()
        if before[len(stripped) :].count("\n") > 2:  # noqa: PLR2004 (one blank line)
            return header
        line = stripped[stripped.rfind("\n") + 1 :]
        begin = header - len(before) + len(stripped) - len(line)
        is_whole = begin == start or self._text[begin - 1] == "\n"
        is_alone = not self._text[max(start, begin - 2) : begin - 1].strip() or begin == start
        if not line.strip() or not is_whole or not is_alone or _HEADING.match(line):
            return header
        return begin if _NAMED_TABLE.match(line) or not line.endswith(_SENTENCE_END) else header

    def _item_end(self, mark: re.Match[str], end: int) -> int:
        """Return the end of a list item: continuation lines, and indented paragraphs and code after blank lines."""
        indent = len(mark["indent"])
        last = self._line_end(mark.end(), end)
        previous = mark.start()
        while last < end:
            begin = self._after_blanks(last + 1, end)
            inner = _MARK.match(self._text, begin, end)
            if begin >= end or not self._goes_on(last, begin, indent, inner):
                break
            if inner is not None and inner["dashes"]:
                return max(previous - 1, mark.start()) if previous > mark.start() else last
            closed = self._closed(inner, end) if inner is not None and inner["fence"] else None
            previous, last = begin, closed or self._line_end(begin, end)
        return last

    def _goes_on(self, last: int, begin: int, indent: int, mark: re.Match[str] | None) -> bool:
        """Tell whether the line at `begin` continues an item whose lines so far end at `last`."""
        if (mark is not None and mark["item"]) or _HEADING.match(self._text, begin):
            return False
        deeper = len(self._text[begin : begin + indent + 1].lstrip(" \t>")) == 0
        if begin > last + 1 or (mark is not None and mark["fence"]):
            return deeper
        return deeper or self._text[last - 1] not in ".!?:"

    def _after_blanks(self, position: int, end: int) -> int:
        """Return the start of the first line that is not blank."""
        while position < end:
            stop = self._line_end(position, end)
            if self._text[position:stop].strip():
                return position
            position = stop + 1
        return end

    def _line_end(self, position: int, end: int) -> int:
        found = self._text.find("\n", position, end)
        return found if found >= 0 else end

    def _line_start(self, position: int, start: int) -> int:
        return max(start, self._text.rfind("\n", start, position) + 1)
