"""Puts a document's text together, with the offsets of its headings, pages and rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.tables.blocks import Block, Row, title_of
from ingestion.types import Extracted, Heading, Json, ReadWarning, WarningKind

_PAGE_NUMBER = re.compile(
    r"(?:page|seite|página|pagina|pag\.|p\.|s\.)?[\s\d/|\u2013-]*(?:of|von|de|di|sur|van)?[\s\d/|\u2013-]*",
    re.IGNORECASE,
)
_AGAIN = re.compile(r" \(\d+\)$")  # a name that another column has, too


@dataclass(frozen=True, slots=True)
class Piece:
    """A block's text; a heading has a level from 1."""

    text: str
    level: int = 0
    in_list: bool = False
    is_title: bool = False


class Assembly:
    """A document's text, paragraph by paragraph; each is cleaned as it is added."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.headings: list[Heading] = []
        self.pages: list[int] = []
        self.rows: list[tuple[int, int]] = []
        self.warnings: list[ReadWarning] = []

    def paragraph(self, text: str) -> int:
        """Add a paragraph and return its offset; one without text is left out."""
        start = self._length
        plain = text.isascii() and text.replace("\n", "").isprintable()  # as most are, which is quickly told
        cleaned = (text if plain else clean(text)).strip("\n")
        if cleaned and not cleaned.isspace():
            self._parts.append(cleaned + "\n\n")
            self._length += len(cleaned) + 2
        return start

    def heading(self, text: str, level: int) -> None:
        """Add a heading as Markdown has it; one that is blank is left out."""
        line = " ".join(clean(text).split())
        if line:
            start = self.paragraph("#" * min(level, 6) + " " + line)
            self.headings.append(Heading(start, level, one_line(line, limit=200)))

    @contextmanager
    def section(self, heading: str, level: int) -> Iterator[None]:
        """Add a heading and what the block adds below it; nothing if that is nothing."""
        start, count, headings = self._length, len(self._parts), len(self.headings)
        self.heading(heading, level)
        below = self._length
        yield
        if self._length == below:
            del self._parts[count:], self.headings[headings:]
            self._length = start

    def page(self) -> None:
        """Begin a page."""
        self.pages.append(self._length)

    def warn(self, kind: WarningKind, detail: str, page: int | None = None) -> None:
        """Say something of the document, once."""
        warning = ReadWarning(kind, detail, page)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def extracted(self, name: PurePath, *, title: str = "", metadata: dict[str, Json] | None = None) -> Extracted:
        """Return the document; without a title it is called by its file."""
        text = "".join(self._parts)
        end = max([len(text.rstrip("\n")), *self.pages[-1:]])
        return Extracted(
            text[:end],
            title=title or name_as_title(name),
            metadata=metadata or {},
            headings=tuple(self.headings),
            pages=tuple(self.pages),
            rows=tuple(self.rows),
            warnings=tuple(self.warnings),
        )


def add_pieces(assembly: Assembly, pieces: Iterable[Piece]) -> str:
    """Add blocks, the items of a list line by line; return what the document calls itself, or an empty string."""
    titles: list[tuple[int, str]] = []
    for in_list, group in groupby(pieces, key=lambda piece: piece.in_list):
        if in_list:
            assembly.paragraph("\n".join(piece.text for piece in group))
            continue
        for piece in group:
            if piece.level:
                assembly.heading(piece.text, piece.level)
                titles.append((0 if piece.is_title else piece.level, one_line(piece.text)))
            else:
                assembly.paragraph(piece.text)
    return min(titles, default=(0, ""), key=lambda title: title[0])[1]


def is_page_number(text: str) -> bool:
    """Tell whether a header or footer says nothing but the number of its page."""
    return _PAGE_NUMBER.fullmatch(text.strip()) is not None


def add_rows(assembly: Assembly, blocks: Iterable[Block], *, level: int) -> None:
    """Add the tables of a sheet: captions as headings, each row a paragraph of ``column: value`` lines.

    Below the rows stand the names of columns that have no value, which may be notes beside the table.
    """
    valueless: dict[int, str] = {}
    for block in blocks:
        if not block.continues:
            _add_valueless(assembly, valueless)
            valueless = {at: name for at, name in enumerate(block.columns) if name}
        if block.caption:
            _add_caption(assembly, block.caption, level)
        written = False
        for row in block.rows:
            start = assembly.paragraph(row_text(block.columns, row))
            assembly.rows.append((start, row.number))
            written = True
            if valueless and not _is_title(block.columns, row.cells):
                valueless = {at: name for at, name in valueless.items() if at >= len(row.cells) or not row.cells[at]}
        if block.columns and not written:
            assembly.paragraph("\n".join(filter(None, block.columns)))
            valueless = {}
    _add_valueless(assembly, valueless)


def _add_valueless(assembly: Assembly, columns: Mapping[int, str]) -> None:
    names = [name for name in columns.values() if not _AGAIN.search(name)]  # one that is merged is named by its first
    if names:
        assembly.paragraph(f"Without values: {'; '.join(names)}")


def row_text(columns: Sequence[str], row: Row) -> str:
    """Return ``column: value`` lines; the text alone of a row that has one, be it merged over columns."""
    cells = row.cells
    if _is_title(columns, cells):
        return title_of(cells)
    known = len(columns)
    return "\n".join(
        [
            f"{columns[at] if at < known and columns[at] else f'column {at + 1}'}: {value}"
            for at, value in enumerate(cells)
            if value
        ]
    )


def _is_title(columns: Sequence[str], cells: Sequence[str]) -> bool:
    first = cells[0]
    return bool(first) and (len(cells) == 1 or not cells[1] or first == cells[1]) and _is_one_text(columns, cells)


def _is_one_text(columns: Sequence[str], cells: Sequence[str]) -> bool:
    return len(set(filter(None, cells))) == 1 and (not columns or cells.count(cells[0]) > 1)


def _add_caption(assembly: Assembly, caption: str, level: int) -> None:
    if len(caption) <= 200:  # noqa: PLR2004 (characters: longer is a note)
        assembly.heading(caption, level)
    else:
        assembly.paragraph(caption)
