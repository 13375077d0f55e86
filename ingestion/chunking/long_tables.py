"""Repeats the caption and header of a table that is longer than a chunk, as a printed table does on each page.

The repeated lines stand in the document's text, so that a chunk is still exactly the text between its offsets. What is
repeated is at most a third of a chunk: a longer caption is left out then, and names of columns are shortened. Each part
of a table is as long as one chunk of its section, so that `splitter.split` cuts between them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ingestion.chunking.blocks import Block, blocks, has_tables
from ingestion.chunking.context import Contexts
from ingestion.chunking.counting import Counts
from ingestion.chunking.packing import CHARS_PER_TOKEN
from ingestion.chunking.pages import Pages
from ingestion.chunking.sections import Section, sections
from ingestion.types import Extracted

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHARE = 3  # a third of a chunk is repeated, at most; as much may stand above a table in its first chunk
MARGIN = 4  # tokens, for tokenizers whose counts do not add up
_SHORTEST_NAME = 4  # characters of a column's name that is shortened
_CELL = re.compile(r"(?:[^|\\\n]|\\.)+")

Insertion = tuple[int, str]


def with_repeated_headers(
    extracted: Extracted, *, tokenizer: Tokenizer, max_tokens: int, counts: Counts | None = None
) -> Extracted:
    """Return a document whose long tables in Markdown repeat their header where they will be cut.

    Rows of tables are numbered from 1 if the reader numbered none.

    Args:
        extracted: the document.
        tokenizer: the embedding model's, with truncation and padding switched off.
        max_tokens: as for `splitter.split`.
        counts: of the same tokenizer; given to `splitter.split` too, rows are counted once.

    """
    if not has_tables(extracted.text):
        return extracted
    contexts = Contexts(extracted.title, tokenizer=tokenizer, max_tokens=max_tokens)
    repeater = _Repeater(extracted, contexts=contexts, counts=counts or Counts(tokenizer, max_tokens=max_tokens))
    insertions: list[Insertion] = []
    rows: list[tuple[int, int]] = []
    for section in sections(extracted):
        for table in repeater.tables(section):
            insertions += repeater.insertions(table, section)
            rows += [(start, number) for number, (start, _) in enumerate(table.rows, start=1)]
    return _inserted(extracted if extracted.rows else replace(extracted, rows=tuple(rows)), insertions)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's lines; `head` is the header line and the line of dashes, each of `rows` a (start, end)."""

    start: int
    caption: str
    head: str
    rows: tuple[tuple[int, int], ...]


class _Repeater:
    def __init__(self, extracted: Extracted, *, contexts: Contexts, counts: Counts) -> None:
        self._text = extracted.text
        self._document_rows = extracted.rows
        self._counts = counts
        self._pages = Pages(extracted.text, extracted.pages)
        self._contexts = contexts

    def tables(self, section: Section) -> Iterator[_Table]:
        """Yield a section's tables."""
        for block in blocks(self._text, section.start, section.end, rows=self._document_rows):
            if block.kind == "table" and block.has_header:
                yield self._table(block)

    def _table(self, block: Block) -> _Table:
        header, dashes, *lines = self._text[block.body : block.end].split("\n")
        starts = accumulate((len(line) + 1 for line in lines), initial=block.body + len(header) + len(dashes) + 2)
        rows = tuple((start, start + len(line)) for start, line in zip(starts, lines, strict=False))
        same_page = self._pages.number(block.start) == self._pages.number(block.body)
        caption = self._text[block.start : block.body].strip() if same_page else ""
        return _Table(block.start, caption, f"{header}\n{dashes}\n", rows)

    def insertions(self, table: _Table, section: Section) -> Iterator[Insertion]:
        """Yield what to repeat before which rows, so that each part of the table fits into a chunk."""
        budget = self._contexts.of(section.path).budget - MARGIN
        if not table.rows or self._is_short(table, budget):
            return
        sizes = self._sizes(table)
        if self._is_one(table, sum(sizes), budget):
            return
        heads = _Heads(table, self._counts, budget)
        page = self._pages.number(table.start)
        used = heads.tokens + self._above(table, section, budget // SHARE)
        for place, ((start, _), size) in enumerate(zip(table.rows, sizes, strict=True)):
            used += size
            begins_page = self._pages.number(start) != page
            if not begins_page and (used <= budget or place == 0):
                continue
            repeated, tokens = heads.before(size)
            yield start, repeated
            used, page = tokens + size, self._pages.number(start)

    def _is_short(self, table: _Table, budget: int) -> bool:
        """Tell whether a table is one chunk on one page for certain: text has hardly more tokens than bytes."""
        end = table.rows[-1][1]
        if end - table.start > budget or self._pages.between(table.start, end):
            return False
        return len(self._text[table.start : end].encode()) <= budget

    def _is_one(self, table: _Table, rows: int, budget: int) -> bool:
        """Tell whether a table, with so many tokens in its rows, is one chunk on one page."""
        if rows > budget or self._pages.between(table.start, table.rows[-1][1]):
            return False
        return rows + self._counts.of([self._text[table.start : table.rows[0][0]]])[0] <= budget

    def _sizes(self, table: _Table) -> list[int]:
        """Return the tokens of each row, with its line end where that is one."""
        rows = (self._text[start:end] for start, end in table.rows)
        texts = [row.strip() if self._counts.are_additive else f"{row}\n" for row in rows]
        return self._counts.kept(texts)

    def _above(self, table: _Table, section: Section, most: int) -> int:
        """Return the tokens that stand above a table in its first chunk: a heading, a few sentences."""
        pages = self._pages.between(section.start, table.start)
        begin = pages[-1] if pages else section.start
        if table.start - begin > most * CHARS_PER_TOKEN:
            return 0
        tokens = self._counts.of([self._text[begin : table.start]])[0]
        return tokens if tokens <= most else 0


class _Heads:
    """What can be repeated of a table's caption and header, the longest that fits first."""

    def __init__(self, table: _Table, counts: Counts, budget: int) -> None:
        whole, plain = table.head, f"{table.caption}\n\n{table.head}" if table.caption else table.head
        self.tokens = counts.of([plain])[0]
        widths = (24, 12, 8, _SHORTEST_NAME) if counts.of([whole])[0] > budget // SHARE else (_SHORTEST_NAME,)
        dense = _shortened(whole, len(whole))
        texts = list(dict.fromkeys([plain, whole, dense, *(_shortened(whole, width) for width in widths)]))
        self._sized = [
            (text, size) for text, size in zip(texts, counts.of(texts), strict=True) if size <= budget // SHARE
        ]
        self._budget = budget

    def before(self, row: int) -> tuple[str, int]:
        """Return what to insert before a row of so many tokens, and its tokens: a blank line alone if none fits."""
        for text, size in self._sized:
            if size + row <= self._budget:
                return f"\n{text}", size
        return "\n", 0


def _shortened(head: str, width: int) -> str:
    """Shorten the names of columns, and the dashes, each of which may be a token."""
    header, newline, dashes = head.partition("\n")
    return _CELL.sub(lambda found: _name(found[0], width), header) + newline + re.sub(r"[ \t]*-+[ \t]*", "-", dashes)


def _name(cell: str, width: int) -> str:
    name = cell.strip()
    return cell if len(name) <= width else f" {name[:width].rstrip(chr(92))}… "


def _inserted(extracted: Extracted, insertions: Sequence[Insertion]) -> Extracted:
    """Insert texts, and shift all offsets; a page that begins there begins with what is inserted."""
    if not insertions:
        return extracted
    places = [place for place, _ in insertions]
    shifts = [0, *accumulate(len(text) for _, text in insertions)]
    ends = [0, *places, len(extracted.text)]
    kept = [extracted.text[start:end] for start, end in pairwise(ends)]
    parts = [part for pair in zip(["", *(text for _, text in insertions)], kept, strict=True) for part in pair]

    def before(offset: int) -> int:
        return offset + shifts[bisect_left(places, offset)]

    def after(offset: int) -> int:
        return offset + shifts[bisect_left(places, offset + 1)]

    return replace(
        extracted,
        text="".join(parts),
        headings=tuple(replace(heading, offset=before(heading.offset)) for heading in extracted.headings),
        pages=tuple(map(before, extracted.pages)),
        rows=tuple((after(offset), number) for offset, number in extracted.rows),
        repeated=tuple(
            (place + shift, place + shift + len(text)) for (place, text), shift in zip(insertions, shifts, strict=False)
        ),
    )
