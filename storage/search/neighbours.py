"""Reading neighbouring chunks and whole documents from the chunk table, in order.

Chunks contain every character of a document that is not white space, with overlaps; `joined` reconstructs the text by
offsets, each character once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.search.filters import FilterGroup, Parameters, compile_filters

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Database
    from storage.generation import Generation

MAX_ROWS = 5000
WIDEST_GAP = 2000  # maximum white space between consecutive chunks, in characters
_RESERVED = ", ".join(f"'{key}'" for key in chunk_tables.RESERVED_KEYS)
_COLUMNS = f"""c.node_id, c.document_id, c.chunk_index, c.page, c.start_char, c.end_char, c.text,
    (c.metadata_ - ARRAY[{_RESERVED}])::text AS metadata"""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A stored chunk; `start` and `end` are offsets in its document, in characters."""

    node_id: str
    document_id: str
    index: int
    page: int | None
    start: int
    end: int
    text: str
    metadata: dict[str, object]

    @property
    def page_end(self) -> int | None:
        """Page on which it ends."""
        end = self.metadata.get("page_end")
        return end if isinstance(end, int) else self.page


@dataclass(frozen=True, slots=True)
class Span:
    """Chunks of a document with index `first` to `last` that overlap the offsets `start` to `end`."""

    document_id: str
    first: int
    last: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Length of a document, in chunks and characters."""

    document_id: str
    chunks: int
    characters: int


class Surroundings:
    """Reads neighbours of chunks in one generation; the number of rows is bounded."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation.id
        self._table = chunk_tables.qualified(generation.id)
        self._readable = chunk_tables.readable(generation.id)
        self._gate = chunk_tables.GATE.format(generation=int(generation.id))

    async def around(self, spans: Sequence[Span], *, filters: FilterGroup | None = None) -> list[StoredChunk]:
        """Return the chunks of all spans that match the filters, each once, by document and index.

        Raises:
            UnsupportedFilter: a filter cannot be honoured.

        """
        if not spans:
            return []
        values = Parameters(*map(list, zip(*map(_bounds, spans), strict=True)))
        sql = f"""
            SELECT DISTINCT ON (c.document_id, c.chunk_index) {_COLUMNS}
            FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::int[]) AS s(id_, first_, last_, start_, end_)
            CROSS JOIN LATERAL (
                SELECT * FROM {self._table} WHERE document_id = s.id_ AND chunk_index BETWEEN s.first_ AND s.last_
                AND end_char > s.start_ AND start_char < s.end_ AND {_where(filters, values)}
                ORDER BY chunk_index LIMIT {MAX_ROWS}
            ) c JOIN footnote.documents d ON {self._gate} ORDER BY c.document_id, c.chunk_index LIMIT {MAX_ROWS}"""
        return await self._chunks(sql, values)

    async def extents(self, document_ids: Sequence[str]) -> dict[str, Extent]:
        """Return the lengths of those documents that exist, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT d.id, d.chunks, last.end_char FROM footnote.documents d CROSS JOIN LATERAL (
                        SELECT end_char FROM {self._table} WHERE document_id = d.id ORDER BY chunk_index DESC LIMIT 1
                    ) last WHERE d.generation_id = $1 AND d.id = ANY($2::text[])""",
                self._generation,
                list(document_ids),
            )
        return {row["id"]: Extent(row["id"], row["chunks"], row["end_char"]) for row in rows}

    async def beginning(
        self, document_id: str, *, characters: int, filters: FilterGroup | None = None
    ) -> list[StoredChunk]:
        """Return the chunks at the beginning of a document, in order, that match the filters.

        Raises:
            UnsupportedFilter: a filter cannot be honoured.

        """
        values = Parameters(document_id, characters)
        sql = f"""SELECT {_COLUMNS} FROM {self._readable} WHERE c.document_id = $1::text AND c.start_char < $2::bigint
            AND {_where(filters, values, column="c.metadata_")} ORDER BY c.chunk_index LIMIT {MAX_ROWS}"""
        return await self._chunks(sql, values)

    async def _chunks(self, sql: str, values: Parameters) -> list[StoredChunk]:
        async with self._database.connection() as connection:
            return [_chunk(row) for row in await connection.fetch(sql, *values.values)]


def follows(first: StoredChunk, second: StoredChunk) -> bool:
    """Tell whether a chunk directly follows another, so that the two can be joined.

    Nodes added through LlamaIndex may have no offsets, or wrong ones: those are not joined.
    """
    is_next = second.document_id == first.document_id and second.index == first.index + 1
    has_offsets = all(len(chunk.text) == chunk.end - chunk.start for chunk in (first, second))
    goes_on = first.start < second.start and first.end < second.end and second.start - first.end <= WIDEST_GAP
    return is_next and has_offsets and goes_on


def runs_of(chunks: Sequence[StoredChunk]) -> list[list[StoredChunk]]:
    """Group chunks into runs in which each follows the one before."""
    runs: list[list[StoredChunk]] = []
    for chunk in chunks:
        if runs and follows(runs[-1][-1], chunk):
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def joined(chunks: Sequence[StoredChunk]) -> str:
    """Return the text from the first chunk's start to the last one's end; each must follow the one before.

    It has exactly that many characters; white space between chunks, which is not stored, is filled in.
    """
    pieces, end = [chunks[0].text], chunks[0].end
    for chunk in chunks[1:]:
        gap = max(0, chunk.start - end)
        pieces.append(" " * (gap - 2) + "\n" * min(gap, 2))
        pieces.append(chunk.text[max(0, end - chunk.start) :])
        end = chunk.end
    return "".join(pieces)


def _bounds(span: Span) -> tuple[str, int, int, int, int]:
    return span.document_id, max(0, span.first), span.last, max(0, span.start), span.end


def _where(filters: FilterGroup | None, values: Parameters, *, column: str = "metadata_") -> str:
    return compile_filters(filters, values, column=column) if filters is not None and filters.filters else "true"


def _chunk(row: asyncpg.Record) -> StoredChunk:
    return StoredChunk(
        node_id=row["node_id"],
        document_id=row["document_id"],
        index=row["chunk_index"],
        page=row["page"],
        start=row["start_char"],
        end=row["end_char"],
        text=row["text"],
        metadata=json.loads(row["metadata"]),
    )
