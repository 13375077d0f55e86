"""Headings of a collection's documents: what one might ask about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.caller import current_tenant
from storage.errors import CollectionNotFound, TableGone
from storage.generation import ACTIVE
from storage.reach import require_reachable

if TYPE_CHECKING:
    from storage.database import Database

DOCUMENTS = 40
"""Documents whose headings are read: the first by id, which for ids that Footnote makes is a sample."""
CHUNKS = 40
"""Chunks from each document's beginning that are looked at."""


@dataclass(frozen=True, slots=True)
class DocumentHeadings:
    """A document's title and the paths of its headings, each once, in the order of its text."""

    document_id: str
    title: str
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CollectionHeadings:
    """Headings of some documents of a collection, and the language that it is searched in."""

    language: str
    documents: tuple[DocumentHeadings, ...]


class Headings:
    """Reads headings of the documents that the caller may read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, collection: str, /) -> CollectionHeadings:
        """Return the headings of at most `DOCUMENTS` documents of the active generation, by id.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        require_reachable(collection)
        try:
            return await self._read(collection)
        except TableGone:  # another generation answers since
            return await self._read(collection)

    async def _read(self, collection: str) -> CollectionHeadings:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT g.id, g.language FROM {ACTIVE} WHERE c.tenant_id = $1 AND c.name = $2",
                current_tenant(),
                collection,
            )
            if row is None:
                raise CollectionNotFound(collection)
            rows = await connection.fetch(_HEADINGS.format(readable=chunk_tables.readable(row["id"])), row["id"])
        found = tuple(DocumentHeadings(each["id"], each["title"], tuple(each["headings"])) for each in rows)
        return CollectionHeadings(row["language"], found)


_HEADINGS = f"""
    SELECT s.id, s.title, coalesce(h.headings, '{{{{}}}}') AS headings
    FROM (SELECT id, title FROM footnote.documents WHERE generation_id = $1 ORDER BY id LIMIT {DOCUMENTS}) s
    LEFT JOIN LATERAL (
        SELECT array_agg(heading ORDER BY place) AS headings FROM (
            SELECT c.metadata_::jsonb ->> 'heading' AS heading, min(c.chunk_index) AS place
            FROM {{readable}} WHERE c.document_id = s.id AND c.chunk_index < {CHUNKS} GROUP BY 1
        ) each WHERE heading <> ''
    ) h ON true ORDER BY s.id"""
