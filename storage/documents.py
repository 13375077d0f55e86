"""Documents of a generation: one transaction each, so that one is there whole, in one version, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from storage import chunk_tables
from storage.collections import ACTIVE, DEFAULT_TENANT, Generation
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.errors import CollectionNotFound, DocumentNotFound, WriteConflict

if TYPE_CHECKING:
    import asyncpg
    import numpy as np
    from numpy.typing import NDArray

    from storage.database import Connection, Database

CHUNK_COLUMNS = (
    "tenant_id", "generation_id", "document_id", "node_id", "chunk_index", "page", "start_char", "end_char",
    "text", "metadata_", "embedding", "embedded_hash",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What is stored of a document, as far as a writer has to compare."""

    id: str
    source: str
    location: str | None
    content_hash: str
    pipeline_fingerprint: str


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to be written.

    Attributes:
        source: its name to people and its identity in the collection, 2,000 bytes at most.
        location: the absolute path it was read from, if it was a file.
        content_hash: SHA-256 of its bytes, in hex.
        pipeline_fingerprint: everything else that its chunks depend on.
        size: bytes.

    """

    id: str
    source: str
    location: str | None
    title: str
    metadata: Mapping[str, object]
    content_hash: str
    pipeline_fingerprint: str
    size: int


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be written.

    Attributes:
        metadata_json: what ``PGVectorStore`` keeps in ``metadata_``, made by `storage.chunks.node_json`.
        embedding: shape (dimension,), float32.
        embedded_hash: of the text that was embedded, so that the vector can serve again.

    """

    node_id: str
    index: int
    page: int | None
    start: int
    end: int
    text: str
    metadata_json: str
    embedding: NDArray[np.float32]
    embedded_hash: UUID | None = None


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


class Documents:
    """The documents of one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation
        self._table = chunk_tables.qualified(generation.id)

    async def states(self, sources: Sequence[str]) -> dict[str, DocumentState]:
        """Return what is stored under these sources."""
        return {state.source: state for state in await self._states("source = ANY($2)", list(sources))}

    async def same_content(self, content_hash: str) -> list[DocumentState]:
        """Return the documents that have these bytes, the oldest first."""
        return await self._states("content_hash = $2", content_hash)

    async def by_ids(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        """Return what is stored under these ids."""
        return {state.id: state for state in await self._states("id = ANY($2)", list(ids))}

    async def vectors(self, document_id: str) -> dict[UUID, NDArray[np.float32]]:
        """Return the stored vectors of a document by the hash of the text that was embedded."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT embedded_hash, embedding FROM {self._table} "
                "WHERE document_id = $1 AND embedded_hash IS NOT NULL",
                document_id,
            )
        return {row["embedded_hash"]: _float32(row["embedding"]) for row in rows}

    async def write(
        self, document: NewDocument, chunks: Sequence[NewChunk], *, replaces: DocumentState | None
    ) -> Literal["written", "unchanged"]:
        """Put the document in place of `replaces`, or of nothing, in one transaction.

        Readers see the old version until the commit and the new one after it.

        Raises:
            WriteConflict: what is stored is no longer `replaces`; read the document again.

        """
        # a large document takes its time to enter the HNSW index; readers are not kept waiting
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            await self._lock(connection, {document.source, *([replaces.source] if replaces else [])})
            stored = await self._stored(connection, document)
            if stored and _same_version(stored, document):
                return "unchanged"
            if stored != replaces:
                msg = f"{document.source!r} was changed by another writer"
                raise WriteConflict(msg)
            await connection.execute(f"DELETE FROM {self._table} WHERE document_id = $1", document.id)
            await self._upsert(connection, document, chunks=len(chunks))
            await connection.copy_records_to_table(
                self._table.split(".")[1],
                schema_name=self._table.split(".")[0],
                columns=CHUNK_COLUMNS,
                records=[self._record(document.id, chunk) for chunk in chunks],
            )
        return "written"

    async def delete(self, document_id: str) -> bool:
        """Delete a document with its chunks; tell whether there was one."""
        async with self._database.transaction() as connection:
            done = await connection.execute(
                "DELETE FROM footnote.documents WHERE generation_id = $1 AND id = $2", self._generation.id, document_id
            )
        return done != "DELETE 0"

    async def _states(self, condition: str, value: object) -> list[DocumentState]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT id, source, location, content_hash, pipeline_fingerprint FROM footnote.documents "
                f"WHERE generation_id = $1 AND {condition} ORDER BY created_at, id",
                self._generation.id,
                value,
            )
        return [DocumentState(**dict(row)) for row in rows]

    async def _lock(self, connection: Connection, sources: set[str]) -> None:
        for source in sorted(sources):  # in one order, so that two writers cannot wait for each other
            key = f"document {self._generation.id} {source}"
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", key)

    async def _stored(self, connection: Connection, document: NewDocument) -> DocumentState | None:
        rows = await connection.fetch(
            "SELECT id, source, location, content_hash, pipeline_fingerprint FROM footnote.documents "
            "WHERE generation_id = $1 AND (id = $2 OR source = $3) FOR UPDATE",
            self._generation.id,
            document.id,
            document.source,
        )
        if len(rows) > 1:
            msg = f"{document.source!r} was changed by another writer"
            raise WriteConflict(msg)
        return DocumentState(**dict(rows[0])) if rows else None

    async def _upsert(self, connection: Connection, document: NewDocument, *, chunks: int) -> None:
        await connection.execute(
            """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, location, title, metadata,
                   content_hash, pipeline_fingerprint, bytes, chunks)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
               ON CONFLICT (generation_id, id) DO UPDATE SET source = excluded.source, location = excluded.location,
                   title = excluded.title, metadata = excluded.metadata, content_hash = excluded.content_hash,
                   pipeline_fingerprint = excluded.pipeline_fingerprint, bytes = excluded.bytes,
                   chunks = excluded.chunks, ingested_at = now()""",
            self._generation.tenant_id,
            self._generation.id,
            document.id,
            document.source,
            document.location,
            document.title,
            json.dumps(document.metadata),
            document.content_hash,
            document.pipeline_fingerprint,
            document.size,
            chunks,
        )

    def _record(self, document_id: str, chunk: NewChunk) -> tuple[object, ...]:
        return (
            self._generation.tenant_id,
            self._generation.id,
            document_id,
            chunk.node_id,
            chunk.index,
            chunk.page,
            chunk.start,
            chunk.end,
            chunk.text,
            chunk.metadata_json,
            chunk.embedding,
            chunk.embedded_hash,
        )


class DocumentCatalog:
    """Reads over the documents of a tenant's active generations."""

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


def _same_version(stored: DocumentState, document: NewDocument) -> bool:
    return (stored.id, stored.source, stored.content_hash, stored.pipeline_fingerprint) == (
        document.id,
        document.source,
        document.content_hash,
        document.pipeline_fingerprint,
    )


def _float32(vector: NDArray[np.float32] | object) -> NDArray[np.float32]:
    import numpy as np

    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, dtype=np.float32)


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
