"""The documents of active generations, as clients see them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from storage.caller import current_tenant
from storage.cursors import Page
from storage.deletions import mark_deleted
from storage.documents.order import Order
from storage.documents.readers import STORED
from storage.errors import CollectionNotFound, DocumentAttached, DocumentNotFound
from storage.generation import ACTIVE
from storage.jobs.payloads import CatchUp
from storage.order import containing
from storage.reach import require_reachable

if TYPE_CHECKING:
    import asyncpg

    from storage.caller import Caller
    from storage.database import Connection, Database

_COLUMNS = (
    "d.id, d.source, d.title, d.chunks, d.bytes, d.content_hash, d.metadata, d.ingested_at, d.revision, d.warnings, "
    f"jsonb_array_length(d.pages) AS pages, d.parent, {STORED} AS readers"
)
BY_ID = Order()
_WITH_SOURCE = """
SELECT d.id FROM footnote.documents d JOIN footnote.generations g ON g.id = d.generation_id
    JOIN footnote.collections c ON c.id = g.collection_id
WHERE c.tenant_id = $1 AND c.name = $2 AND d.source = $3 AND d.parent IS NULL AND (g.state = 'active' OR (
    EXISTS (SELECT FROM footnote.jobs j WHERE j.tenant_id = $1 AND j.collection = $2 AND j.kind = $4
            AND j.status IN ('queued', 'running'))
    AND NOT EXISTS (SELECT FROM footnote.documents a JOIN footnote.generations ag ON ag.id = a.generation_id
                    WHERE ag.collection_id = c.id AND ag.state = 'active' AND a.id = d.id)))
ORDER BY (g.state = 'active') DESC, d.revision DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document as clients see it.

    Attributes:
        pages: their number, 0 if its format has none.
        parent: id of the document that it is attached to, with which it is replaced and deleted.

    """

    id: str
    source: str
    title: str
    chunks: int
    bytes: int
    content_hash: str
    metadata: Mapping[str, object]
    ingested_at: datetime
    collection: str
    revision: int
    pages: int = 0
    warnings: Sequence[Mapping[str, object]] = ()
    parent: str | None = None
    readers: Sequence[str] = ()


class DocumentCatalog:
    """The documents of a tenant's active generations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self,
        *,
        collection: str,
        limit: int,
        cursor: str | None = None,
        parent: str | None = None,
        contains: str | None = None,
        order: Order = BY_ID,
    ) -> Page[DocumentInfo]:
        """List a collection's documents in an order; with `parent` the attachments of that one only.

        `contains` leaves those that have it in their source or title, in whatever case.

        Raises:
            CollectionNotFound: there is no such collection.
            InvalidCursor: the cursor is none of ours, or of another order.

        """
        require_reachable(collection)
        value, own_id = order.place(cursor)
        pattern = None if contains is None else containing(contains)
        async with self._database.connection() as connection:
            generation_id = await connection.fetchval(
                f"SELECT g.id FROM {ACTIVE} WHERE c.tenant_id = $1 AND c.name = $2", current_tenant(), collection
            )
            if generation_id is None:
                raise CollectionNotFound(collection)
            rows = await connection.fetch(
                f"SELECT {_COLUMNS}, $2::text AS collection FROM footnote.documents d "
                "WHERE generation_id = $1 AND ($4::text IS NULL OR parent = $4) "
                "AND ($5::text IS NULL OR source ILIKE $5 ESCAPE '!' OR title ILIKE $5 ESCAPE '!') "
                f"AND {order.after('d', 6, 7)} {order.clause('d')} LIMIT $3",
                generation_id,
                collection,
                limit + 1,
                parent,
                pattern,
                value,
                own_id,
            )
        items = tuple(_info(row) for row in rows[:limit])
        return Page(items, order.cursor_of(items[-1]) if len(rows) > limit else None)

    async def get(self, document_id: str, *, collection: str) -> DocumentInfo:
        """Describe a document.

        Raises:
            CollectionNotFound: the collection is out of reach.
            DocumentNotFound: there is no such document in that collection.

        """
        require_reachable(collection)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"""SELECT {_COLUMNS}, c.name AS collection
                    FROM {ACTIVE} JOIN footnote.documents d ON d.generation_id = g.id
                    WHERE c.tenant_id = $1 AND d.id = $2 AND c.name = $3""",
                current_tenant(),
                document_id,
                collection,
            )
        if row is None:
            raise DocumentNotFound(document_id)
        return _info(row)

    async def with_source(self, connection: Connection, collection: str, source: str) -> str | None:
        """Return the document that has a source, or gets it back: after a rollback newer documents are carried over."""
        found: str | None = await connection.fetchval(_WITH_SOURCE, current_tenant(), collection, source, CatchUp.kind)
        return found

    async def require_own(self, connection: Connection, document_id: str, *, collection: str) -> None:
        """Raise `DocumentAttached` if a document is an attachment."""
        parent = await connection.fetchval(
            f"""SELECT d.parent FROM {ACTIVE} JOIN footnote.documents d ON d.generation_id = g.id
                WHERE c.tenant_id = $1 AND d.id = $2 AND c.name = $3""",
            current_tenant(),
            document_id,
            collection,
        )
        if parent is not None:
            raise DocumentAttached(document_id, parent=parent)

    async def is_readable(
        self, connection: Connection, document_id: str, who: Caller | None, *, collection: str
    ) -> bool:
        """Tell whether a caller may read a document, if it is there; the connection sees the whole tenant."""
        return await self._access(connection, document_id, who, collection=collection) is not False

    async def is_seen(self, connection: Connection, document_id: str, who: Caller | None, *, collection: str) -> bool:
        """Tell whether a document is there that a caller may read, or he sees all; see `is_readable`."""
        sees_all = who is not None and who.sees_all
        return sees_all or bool(await self._access(connection, document_id, who, collection=collection))

    async def hides_any(self, connection: Connection, who: Caller | None, *, collection: str) -> bool:
        """Tell whether a collection has documents that a caller may not read; see `is_readable`."""
        found: bool = await connection.fetchval(
            """SELECT EXISTS (SELECT FROM footnote.collections c JOIN footnote.generations g ON g.collection_id = c.id
                JOIN footnote.documents d ON d.generation_id = g.id
                WHERE c.tenant_id = $1 AND c.name = $2 AND NOT d.access && $3::text[])""",
            current_tenant(),
            collection,
            list(who.access) if who else [],
        )
        return found

    async def _access(
        self, connection: Connection, document_id: str, who: Caller | None, *, collection: str
    ) -> bool | None:
        readable: bool | None = await connection.fetchval(
            f"""SELECT d.access && $4::text[] FROM {ACTIVE} JOIN footnote.documents d ON d.generation_id = g.id
                WHERE c.tenant_id = $1 AND d.id = $2 AND c.name = $3""",
            current_tenant(),
            document_id,
            collection,
            list(who.access) if who else [],
        )
        return readable

    async def delete(self, connection: Connection, document_id: str, *, collection: str) -> bool:
        """Delete a document from every generation within the connection's transaction; return whether it answered.

        Nobody who has read it before can write it from now on, be it that it has never been written.

        Raises:
            DocumentAttached: it is an attachment of another one.

        """
        row = await connection.fetchrow(
            f"SELECT c.id AS collection_id, g.id AS generation_id FROM {ACTIVE} WHERE c.tenant_id = $1 AND c.name = $2",
            current_tenant(),
            collection,
        )
        if row is None:
            return False
        return row["generation_id"] in await mark_deleted(connection, row["collection_id"], document_id=document_id)


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
        revision=row["revision"],
        pages=row["pages"],
        warnings=json.loads(row["warnings"]),
        parent=row["parent"],
        readers=tuple(row["readers"]),
    )
