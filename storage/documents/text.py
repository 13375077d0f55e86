"""The text of a document, reconstructed from its chunks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.caller import current_tenant
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.errors import DocumentNotFound, InvalidCursor, PageNotFound, RevisionNotFound
from storage.generation import ACTIVE
from storage.reach import reachable_collections, require_reachable

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database


LONGEST = 2**31 - 1
ONE_VERSION = {"transaction_isolation": "'repeatable read'"}


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of a document's text; offsets are in characters and the same as a citation's.

    Attributes:
        offset: of the part.
        total: length of the whole text.

    """

    text: str
    offset: int
    total: int

    @property
    def next_offset(self) -> int | None:
        """Offset of the next part; None at the end."""
        end = self.offset + len(self.text)
        return end if self.text and end < self.total else None


@dataclass(frozen=True, slots=True)
class PageSpan:
    """A page of a document; `start` and `end` are offsets in its text, in characters.

    Attributes:
        page: its number, from 1.
        label: what the document calls it, ``iv`` say; else its number.

    """

    page: int
    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a page as the file has it: without the headers that long tables repeat in the document's text.

    Attributes:
        start: offset of the page in the document's text.
        end: offset of the next page, or of the end.
        repeated: (start, end) of what was repeated, in the document's text.

    """

    text: str
    start: int
    end: int
    repeated: tuple[tuple[int, int], ...] = ()

    def offset(self, offset: int) -> int:
        """Return an offset in the document's text as one in `text`; its bounds for what is on other pages."""
        offset = min(max(offset, self.start), self.end)
        cut = sum(min(max(0, offset - max(start, self.start)), end - start) for start, end in self.repeated)
        return max(offset - self.start - cut, 0)


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document's text, as it is indexed, with its pages."""

    document_id: str
    revision: int
    text: str
    pages: tuple[PageSpan, ...]


@dataclass(frozen=True, slots=True)
class ChunkInfo:
    """A chunk of a document's text, which `start` and `end` are offsets in; chunks next to each other overlap."""

    node_id: str
    chunk_index: int
    start: int
    end: int
    heading: str | None
    text: str


class DocumentTexts:
    """Reads over the texts of the documents in a tenant's active generations.

    Chunks contain every character of a document that is not white space, with overlaps. Overlaps are removed here;
    white space between chunks, which is not stored, is replaced by as many blanks and line ends.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def part(self, document_id: str, /, *, collection: str | None, offset: int, limit: int) -> TextPart:
        """Return at most `limit` characters from `offset`.

        Raises:
            DocumentNotFound: there is no such document (in that collection).

        """
        async with self._database.connection() as connection:
            generation = await self._generation(connection, document_id, collection)
            rows = await _chunks(connection, generation, document_id, offset=offset, end=offset + limit)
        total = rows[0]["total"]
        return TextPart(_assembled(rows, offset=offset, end=min(offset + limit, total)), offset=offset, total=total)

    async def whole(self, document_id: str, /, *, collection: str, revision: int | None = None) -> DocumentText:
        """Return the whole text with its pages, of one version.

        Raises:
            DocumentNotFound: there is no such document in that collection.
            RevisionNotFound: it has another revision.

        """
        async with self._database.transaction(local=ONE_VERSION, readonly=True) as connection:
            generation = await self._generation(connection, document_id, collection)
            row = await connection.fetchrow(
                "SELECT revision, pages FROM footnote.documents WHERE generation_id = $1 AND id = $2",
                generation,
                document_id,
            )
            if row is None:
                raise DocumentNotFound(document_id)
            text = await text_of(connection, generation, document_id)
        require_revision(document_id, revision, current=row["revision"])
        return DocumentText(document_id, row["revision"], text, _spans(json.loads(row["pages"]), len(text)))

    async def chunks(
        self, document_id: str, /, *, collection: str, limit: int, cursor: str | None = None
    ) -> Page[ChunkInfo]:
        """List a document's chunks in the order of the text.

        Raises:
            DocumentNotFound: there is no such document in that collection.
            InvalidCursor: the cursor is none of ours.

        """
        after = decode_cursor(cursor) or "-1"
        if not after.removeprefix("-").isdecimal() or not -1 <= int(after) <= LONGEST:
            raise InvalidCursor
        async with self._database.connection() as connection:
            generation = await self._generation(connection, document_id, collection)
            rows = await connection.fetch(
                f"""SELECT c.node_id, c.chunk_index, c.start_char AS start, c.end_char AS "end", c.text,
                        c.metadata_::jsonb ->> 'heading' AS heading
                    FROM {chunk_tables.readable(generation)}
                    WHERE c.document_id = $1 AND c.chunk_index > $2 ORDER BY c.chunk_index LIMIT $3""",
                document_id,
                int(after),
                limit + 1,
            )
        items = tuple(ChunkInfo(**row) for row in rows[:limit])
        return Page(items, encode_cursor(str(items[-1].chunk_index)) if len(rows) > limit else None)

    async def page(self, document_id: str, number: int, /, *, collection: str) -> PageText:
        """Return the text of a page, from 1.

        Raises:
            DocumentNotFound: there is no such document in that collection.
            PageNotFound: it has no such page.

        """
        async with self._database.transaction(local=ONE_VERSION, readonly=True) as connection:
            generation = await self._generation(connection, document_id, collection)
            row = await connection.fetchrow(
                "SELECT pages, repeated FROM footnote.documents WHERE generation_id = $1 AND id = $2",
                generation,
                document_id,
            )
            if row is None:
                raise DocumentNotFound(document_id)
            starts = [start for start, _ in json.loads(row["pages"])]
            if not 1 <= number <= len(starts):
                raise PageNotFound(_no_page(document_id, number, len(starts)))
            start, end = starts[number - 1], ([*starts, LONGEST][number])
            chunks = await _chunks(connection, generation, document_id, offset=start, end=end)
        end = min(end, max(chunks[0]["total"], start))
        whole = _assembled(chunks, offset=start, end=end)
        repeated = tuple((one, other) for one, other in json.loads(row["repeated"]) if start <= one < end)
        return PageText(_without(whole, repeated, start), start, end, repeated)

    async def _generation(self, connection: Connection, document_id: str, collection: str | None) -> int:
        if collection is not None:
            require_reachable(collection)
        generation = await connection.fetchval(
            f"""SELECT g.id FROM {ACTIVE} JOIN footnote.documents d ON d.generation_id = g.id
                WHERE c.tenant_id = $1 AND d.id = $2 AND ($3::text IS NULL OR c.name = $3)
                    AND ($4::text[] IS NULL OR c.name = ANY($4)) LIMIT 1""",
            current_tenant(),
            document_id,
            collection,
            reachable_collections(),
        )
        if generation is None:
            raise DocumentNotFound(document_id)
        return int(generation)


def require_revision(document_id: str, revision: int | None, *, current: int) -> None:
    """Check that a revision that is asked for is the current one.

    Raises:
        RevisionNotFound: it is not.

    """
    if revision is not None and revision != current:
        raise RevisionNotFound(document_id, revision, current=current)


def _no_page(document_id: str, number: int, count: int) -> str:
    if not count:
        return f"document {document_id!r} has no pages; GET /documents/{{id}}/text has its text"
    return f"document {document_id!r} has {count} pages, and no page {number}"


def _without(text: str, cuts: Sequence[tuple[int, int]], begin: int) -> str:
    """Return a text, which begins at an offset, without parts of it."""
    ends = [begin, *(end for _, end in cuts)]
    starts = [*(start for start, _ in cuts), begin + len(text)]
    return "".join(text[end - begin : start - begin] for end, start in zip(ends, starts, strict=True))


def _spans(pages: Sequence[tuple[int, str]], length: int) -> tuple[PageSpan, ...]:
    starts = [*(min(start, length) for start, _ in pages), length]
    spans = zip(pages, pairwise(starts), strict=True)
    return tuple(PageSpan(number, label, start, end) for number, ((_, label), (start, end)) in enumerate(spans, 1))


async def text_of(connection: Connection, generation: int, document_id: str) -> str:
    """Return the whole text of a document of a generation.

    Raises:
        DocumentNotFound: there is no such document.

    """
    rows = await _chunks(connection, generation, document_id, offset=0, end=LONGEST)
    if rows[0]["text"] is None:
        raise DocumentNotFound(document_id)
    return _assembled(rows, offset=0, end=rows[0]["total"])


async def _chunks(
    connection: Connection, generation: int, document_id: str, *, offset: int, end: int
) -> list[asyncpg.Record]:
    """Return the chunks of a range, with the text's length in each row; at least one row.

    One statement, so that a document being replaced is read in one version.
    """
    readable = chunk_tables.readable(generation)
    return await connection.fetch(
        f"""SELECT whole.total, part.start_char, part.end_char, part.text
            FROM (SELECT coalesce(max(c.end_char), 0) AS total FROM {readable} WHERE c.document_id = $1) whole
            LEFT JOIN (SELECT c.* FROM {readable}
                WHERE c.document_id = $1 AND c.end_char > $2::bigint AND c.start_char < $3::bigint) part ON true
            ORDER BY part.start_char, part.chunk_index""",
        document_id,
        offset,
        end,
    )


def _assembled(rows: Iterable[asyncpg.Record], *, offset: int, end: int) -> str:
    pieces: list[str] = []
    position = offset
    for row in rows:
        if row["text"] is None or row["end_char"] <= position:
            continue
        start = min(max(row["start_char"], position), end)
        pieces.append(_blanks(start - position))
        pieces.append(row["text"][start - row["start_char"] : end - row["start_char"]])
        position = row["end_char"]
    return "".join(pieces)


def _blanks(count: int) -> str:
    """Return white space of a given length: with an empty line if it is long enough."""
    return " " * (count - 2) + "\n" * min(count, 2)
