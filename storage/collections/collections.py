"""Collections and their generations."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.caller import EVERYBODY, current_tenant, for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.database import reading
from storage.errors import CollectionExists, CollectionNotFound, InvalidCollection
from storage.generation import (
    ACTIVE,
    COLUMNS,
    NAME_PATTERN,
    Chunking,
    EmbeddingIdentity,
    Generation,
    GenerationState,
    generation_of,
)
from storage.reach import reachable_collections, require_reachable

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database, Session

FLIPS = "footnote_flips"  # notification channel; the payload is the name of a collection with a new active generation


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as clients see it.

    Attributes:
        table: what the stock ``PGVectorStore`` opens, in the schema ``footnote``.
        building: name of the newest generation that is not completely built; None: there is none.

    """

    name: str
    generation: str
    documents: int
    chunks: int
    embedding_model: str
    dimension: int
    language: str
    chunk_tokens: int
    table: str
    created_at: datetime
    updated_at: datetime | None = None
    readers: tuple[str, ...] = (EVERYBODY,)
    building: str | None = None


@dataclass(frozen=True, slots=True)
class NameSize:
    """All collections of a name, those of all tenants together; those that are not shown are called ``other``.

    Attributes:
        written_at: when one of them was written to last, or made.

    """

    name: str
    documents: int
    chunks: int
    written_at: datetime


class Collections:
    """Collections of one tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def active(self, name: str) -> Generation:
        """Return the active generation.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        require_reachable(name)
        async with self._database.connection() as connection:
            return await self._active(connection, name)

    async def ensure(
        self, name: str, *, embedding: EmbeddingIdentity, chunking: Chunking, accepted: Container[str] = ()
    ) -> Generation:
        """Return the active generation; create the collection with a first one if it does not exist.

        `accepted` are the fingerprints that an active generation may have; empty: the new one's.

        Raises:
            InvalidCollection: the name or the language is invalid.
            EmbeddingMismatch: the collection was built with another model.

        """
        generation, is_new = await self._ensure(name, embedding, chunking)
        if not is_new:
            generation.require_embedding(accepted or (embedding.fingerprint,), model=embedding.model)
        return generation

    async def create(self, name: str, *, embedding: EmbeddingIdentity, chunking: Chunking) -> Generation:
        """Create a collection with an empty first generation.

        Raises:
            InvalidCollection: the name, or the language, cannot be used.
            CollectionExists: the name is taken.

        """
        generation, is_new = await self._ensure(name, embedding, chunking)
        if not is_new:
            raise CollectionExists(name)
        return generation

    @for_all_tenants
    async def active_of(
        self, places: Sequence[tuple[str, str]], *, connection: Session
    ) -> dict[tuple[str, str], Generation]:
        """Return the active generations of those collections, by tenant and name, that exist."""
        async with reading(connection):
            rows = await connection.fetch(
                f"""SELECT {COLUMNS} FROM {ACTIVE} WHERE (c.tenant_id, c.name) IN (
                        SELECT * FROM unnest($1::text[], $2::text[]))""",
                [tenant for tenant, _ in places],
                [name for _, name in places],
            )
        return {(row["tenant_id"], row["name"]): generation_of(row) for row in rows}

    async def delete(self, connection: Connection, name: str) -> None:
        """Delete a collection with all its generations within the connection's transaction.

        From its commit on the name is free and no server answers from the collection. It waits for no writer or reader
        of documents: the collection is marked, and `storage.collections.dropping` takes away what is marked later.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        require_reachable(name)
        collection_id = await connection.fetchval(
            """UPDATE footnote.collections SET deleted_at = clock_timestamp()
               WHERE tenant_id = $1 AND name = $2 AND deleted_at IS NULL RETURNING id""",
            current_tenant(),
            name,
        )
        if collection_id is None:
            raise CollectionNotFound(name)
        # in one order: an activation locks them, too
        await connection.execute(
            """WITH locked AS (SELECT id FROM footnote.generations WHERE collection_id = $1 ORDER BY id
                               FOR NO KEY UPDATE)
               UPDATE footnote.generations g SET state = 'dropped' FROM locked WHERE g.id = locked.id""",
            collection_id,
        )
        await connection.execute("SELECT pg_notify($1, $2)", FLIPS, name)

    @rerun_on_conflict
    async def _ensure(self, name: str, embedding: EmbeddingIdentity, chunking: Chunking) -> tuple[Generation, bool]:
        require_name(name)
        require_reachable(name)
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"collection {name}")
            try:
                return await self._active(connection, name), False
            except CollectionNotFound:
                return await self._create(connection, name, embedding, chunking), True

    async def info(self, name: str) -> CollectionInfo:
        """Describe a collection.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        require_reachable(name)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_INFO + " AND c.name = $2", current_tenant(), name)
        if row is None:
            raise CollectionNotFound(name)
        return _info(row)

    async def list(self, *, limit: int, cursor: str | None = None) -> Page[CollectionInfo]:
        """List collections by name.

        Raises:
            InvalidCursor: Footnote did not issue the cursor.

        """
        after = decode_cursor(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _INFO + " AND c.name > $2 AND ($4::text[] IS NULL OR c.name = ANY($4)) ORDER BY c.name LIMIT $3",
                current_tenant(),
                after,
                limit + 1,
                reachable_collections(),
            )
        items = tuple(_info(row) for row in rows[:limit])
        return Page(items, encode_cursor(items[-1].name) if len(rows) > limit else None)

    @for_all_tenants
    async def sizes(self, *, most: int) -> Sequence[NameSize]:
        """Add up the collections of all tenants by name: the `most` with the most chunks, and the rest as one."""
        async with self._database.connection() as connection:
            return [NameSize(**row) for row in await connection.fetch(_SIZES, most)]

    async def _active(self, connection: Connection, name: str) -> Generation:
        row = await connection.fetchrow(
            f"SELECT {COLUMNS} FROM {ACTIVE} WHERE c.tenant_id = $1 AND c.name = $2",
            current_tenant(),
            name,
        )
        if row is None:
            raise CollectionNotFound(name)
        return generation_of(row)

    async def _create(
        self, connection: Connection, name: str, embedding: EmbeddingIdentity, chunking: Chunking
    ) -> Generation:
        collection_id = await connection.fetchval(
            "INSERT INTO footnote.collections (tenant_id, name) VALUES ($1, $2) RETURNING id", current_tenant(), name
        )
        await insert_generation(
            connection,
            tenant=current_tenant(),
            collection_id=collection_id,
            embedding=embedding,
            chunking=chunking,
            state="active",
        )
        return await self._active(connection, name)


async def insert_generation(
    connection: Connection,
    *,
    tenant: str,
    collection_id: int,
    embedding: EmbeddingIdentity,
    chunking: Chunking,
    state: GenerationState,
    build_fingerprint: str | None = None,
) -> int:
    """Insert a generation with its chunk table and the next number of its collection; return its id.

    Raises:
        InvalidCollection: the language cannot be used.

    """
    await _require_language(connection, chunking.language)
    generation_id: int = await connection.fetchval(
        """INSERT INTO footnote.generations (tenant_id, collection_id, number, state, activated_at, language,
               embedding_model, embedding_revision, embedding_fingerprint, embedding_options, dimension, normalized,
               chunk_tokens, chunk_overlap, build_fingerprint)
           SELECT $1, $2::bigint, coalesce(max(number), 0) + 1, $3::text, CASE WHEN $3::text = 'active' THEN now() END,
               $4, $5, $6, $7, $8::jsonb, $9, $10, $11, $12, $13
           FROM footnote.generations WHERE collection_id = $2::bigint RETURNING id""",
        tenant,
        collection_id,
        state,
        chunking.language,
        embedding.model,
        embedding.revision,
        embedding.fingerprint,
        None if embedding.options is None else json.dumps(dict(embedding.options)),
        embedding.dimension,
        embedding.normalized,
        chunking.tokens,
        chunking.overlap,
        build_fingerprint,
    )
    await chunk_tables.create(
        connection, generation_id, tenant=tenant, dimension=embedding.dimension, chunking=chunking
    )
    return generation_id


_INFO = f"""
    SELECT {COLUMNS}, c.readers, d.documents, d.chunks, d.updated_at, (
        SELECT max(b.number)::text FROM footnote.generations b WHERE b.collection_id = c.id AND b.state = 'building'
    ) AS building FROM {ACTIVE}, LATERAL (
        SELECT count(*) AS documents, coalesce(sum(chunks), 0) AS chunks, max(ingested_at) AS updated_at
        FROM footnote.documents WHERE generation_id = g.id
    ) d WHERE c.tenant_id = $1"""


_SIZES = f"""
    WITH sized AS (
        SELECT c.name, sum(d.documents)::bigint AS documents, sum(d.chunks)::bigint AS chunks,
            max(coalesce(d.updated_at, c.created_at)) AS written_at
        FROM {ACTIVE}, LATERAL (
            SELECT count(*) AS documents, coalesce(sum(chunks), 0) AS chunks, max(ingested_at) AS updated_at
            FROM footnote.documents WHERE generation_id = g.id
        ) d GROUP BY c.name
    ), ranked AS (SELECT *, row_number() OVER (ORDER BY chunks DESC, name) <= $1 AS is_shown FROM sized)
    SELECT CASE WHEN is_shown THEN name ELSE 'other' END AS name, sum(documents)::bigint AS documents,
        sum(chunks)::bigint AS chunks, max(written_at) AS written_at
    FROM ranked GROUP BY 1 ORDER BY 3 DESC, 1"""


def require_name(name: str) -> None:
    """Raise `InvalidCollection` if the name is invalid."""
    if re.fullmatch(NAME_PATTERN, name) is None:
        msg = f"{name[:80]!r} is no collection name: use a-z, 0-9, _ and -, a letter or digit first, 63 at most"
        raise InvalidCollection(msg)


async def _require_language(connection: Connection, language: str) -> None:
    known = await connection.fetchval("SELECT array_agg(cfgname::text ORDER BY cfgname) FROM pg_ts_config")
    if language not in known:
        msg = f"{language!r} is no text search configuration of this database; it has: {', '.join(known)}"
        raise InvalidCollection(msg)


def _info(row: asyncpg.Record) -> CollectionInfo:
    return CollectionInfo(
        name=row["name"],
        generation=str(row["number"]),
        documents=row["documents"],
        chunks=int(row["chunks"]),
        embedding_model=row["embedding_model"],
        dimension=row["dimension"],
        language=row["language"],
        chunk_tokens=row["chunk_tokens"],
        table=chunk_tables.table_name(row["id"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        readers=tuple(row["readers"]),
        building=row["building"],
    )
