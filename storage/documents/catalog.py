"""The documents of active generations, as clients see them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from storage.cursors import Page, decode_cursor, encode_cursor
from storage.deletions import mark_deleted
from storage.errors import CollectionNotFound, DocumentNotFound
from storage.generation import ACTIVE, DEFAULT_TENANT

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document as clients see it."""

    id: str
    source: str
    title: str
    chunks: int
    bytes: int
    content_hash: str
    metadata: Mapping[str, object]
    ingested_at: datetime
    collection: str


class DocumentCatalog:
    """The documents of a tenant's active generations."""

    def __init__(self, database: Database, *, tenant: str = DEFAULT_TENANT) -> None:
        self._database = database
        self._tenant = tenant

    async def list(self, *, collection: str, limit: int, cursor: str | None = None) -> Page[DocumentInfo]:
        """List a collection's documents by id.

        Raises:
            CollectionNotFound: there is no such collection.
            InvalidCursor: the cursor is none of ours.

        """
        after = decode_cursor(cursor)
        async with self._database.connection() as connection:
            generation_id = await connection.fetchval(
                f"SELECT g.id FROM {ACTIVE} WHERE c.tenant_id = $1 AND c.name = $2", self._tenant, collection
            )
            if generation_id is None:
                raise CollectionNotFound(collection)
            rows = await connection.fetch(
                "SELECT d.*, $2::text AS collection FROM footnote.documents d "
                "WHERE generation_id = $1 AND id > $3 ORDER BY id LIMIT $4",
                generation_id,
                collection,
                after,
                limit + 1,
            )
        items = tuple(_info(row) for row in rows[:limit])
        return Page(items, encode_cursor(items[-1].id) if len(rows) > limit else None)

    async def get(self, document_id: str, *, collection: str | None = None) -> DocumentInfo:
        """Describe a document.

        Raises:
            DocumentNotFound: there is no such document (in that collection).

        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"""SELECT d.*, c.name AS collection FROM {ACTIVE} JOIN footnote.documents d ON d.generation_id = g.id
                    WHERE c.tenant_id = $1 AND d.id = $2 AND ($3::text IS NULL OR c.name = $3) LIMIT 1""",
                self._tenant,
                document_id,
                collection,
            )
        if row is None:
            raise DocumentNotFound(document_id)
        return _info(row)

    async def delete(self, connection: Connection, document_id: str, *, collection: str | None = None) -> Sequence[str]:
        """Delete a document within the connection's transaction; return the collections that had it.

        Raises:
            DocumentNotFound: there is no such document (in that collection).

        """
        rows = await connection.fetch(
            f"""SELECT c.id, c.name FROM {ACTIVE} WHERE c.tenant_id = $1 AND ($3::text IS NULL OR c.name = $3)
                AND EXISTS (SELECT FROM footnote.documents d WHERE d.generation_id = g.id AND d.id = $2)
                ORDER BY c.id""",
            self._tenant,
            document_id,
            collection,
        )
        had = [row["name"] for row in rows if await mark_deleted(connection, row["id"], document_id=document_id)]
        if not had:
            raise DocumentNotFound(document_id)
        return had


def _info(row: asyncpg.Record) -> DocumentInfo:
    return DocumentInfo(
        id=row["id"],
        source=row["source"],
        title=row["title"],
        chunks=row["chunks"],
        bytes=row["bytes"],
        content_hash=row["content_hash"],
        metadata=json.loads(row["metadata"]),
        ingested_at=row["ingested_at"],
        collection=row["collection"],
    )
