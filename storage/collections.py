"""Collections and their generations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.errors import CollectionNotFound, EmbeddingMismatch, InvalidCollection

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

DEFAULT_TENANT = "public"
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"
COLUMNS = """g.id, c.tenant_id, c.name, g.number, c.id AS collection_id, c.language, c.embedding_model,
    c.embedding_revision, c.embedding_fingerprint, c.dimension, c.normalized, c.chunk_tokens, c.chunk_overlap,
    c.created_at"""
ACTIVE = "footnote.collections c JOIN footnote.generations g ON g.collection_id = c.id AND g.state = 'active'"


@dataclass(frozen=True, slots=True)
class EmbeddingIdentity:
    """What makes vectors comparable: two models with one fingerprint give the same vectors."""

    model: str
    revision: str
    fingerprint: str
    dimension: int
    normalized: bool


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are split, in tokens of the embedding model, and the language of their text search."""

    tokens: int
    overlap: int
    language: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of a collection; a request is pinned to one from retrieval to the last token."""

    id: int
    tenant_id: str
    collection: str
    number: int
    embedding: EmbeddingIdentity
    chunking: Chunking

    @property
    def name(self) -> str:
        """The generation as clients see it."""
        return str(self.number)

    def require_embedding(self, fingerprint: str, *, model: str) -> None:
        """Raise `EmbeddingMismatch`, with what to do, unless the collection was built with this model."""
        if fingerprint == self.embedding.fingerprint:
            return
        built = self.embedding
        msg = (
            f"collection {self.collection!r} was built with {built.model} (revision {built.revision}, "
            f"{built.dimension} dimensions, normalized: {built.normalized}), but {model} is configured; "
            "set FOOTNOTE_EMBEDDING__MODEL, __REVISION, __NORMALIZE and the rest as they were, "
            "or ingest into a new collection"
        )
        raise EmbeddingMismatch(msg)


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as clients see it; `table` is what the stock ``PGVectorStore`` opens, in the schema ``footnote``."""

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


class Collections:
    """Collections of one tenant."""

    def __init__(self, database: Database, *, tenant: str = DEFAULT_TENANT) -> None:
        self._database = database
        self._tenant = tenant

    async def active(self, name: str) -> Generation:
        """Return the generation that answers now.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        async with self._database.connection() as connection:
            return await self._active(connection, name)

    async def ensure(self, name: str, *, embedding: EmbeddingIdentity, chunking: Chunking) -> Generation:
        """Return the active generation; make the collection with a first one where there is none.

        Raises:
            InvalidCollection: the name, or the language, cannot be used.
            EmbeddingMismatch: the collection was built with another model.

        """
        if re.fullmatch(NAME_PATTERN, name) is None:
            msg = f"{name[:80]!r} is no collection name: use a-z, 0-9, _ and -, a letter or digit first, 63 at most"
            raise InvalidCollection(msg)
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"collection {name}")
            try:
                generation = await self._active(connection, name)
            except CollectionNotFound:
                return await self._create(connection, name, embedding, chunking)
        generation.require_embedding(embedding.fingerprint, model=embedding.model)
        return generation

    async def info(self, name: str) -> CollectionInfo:
        """Describe a collection.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_INFO + " AND c.name = $2", self._tenant, name)
        if row is None:
            raise CollectionNotFound(name)
        return _info(row)

    async def list(self, *, limit: int, cursor: str | None = None) -> Page[CollectionInfo]:
        """List collections by name.

        Raises:
            InvalidCursor: the cursor is none of ours.

        """
        after = decode_cursor(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _INFO + " AND c.name > $2 ORDER BY c.name LIMIT $3", self._tenant, after, limit + 1
            )
        items = tuple(_info(row) for row in rows[:limit])
        return Page(items, encode_cursor(items[-1].name) if len(rows) > limit else None)

    async def _active(self, connection: Connection, name: str) -> Generation:
        row = await connection.fetchrow(
            f"SELECT {COLUMNS} FROM {ACTIVE} WHERE c.tenant_id = $1 AND c.name = $2",
            self._tenant,
            name,
        )
        if row is None:
            raise CollectionNotFound(name)
        return _generation(row)

    async def _create(
        self, connection: Connection, name: str, embedding: EmbeddingIdentity, chunking: Chunking
    ) -> Generation:
        await _require_language(connection, chunking.language)
        collection_id = await connection.fetchval(
            """INSERT INTO footnote.collections (tenant_id, name, language, embedding_model, embedding_revision,
                embedding_fingerprint, dimension, normalized, chunk_tokens, chunk_overlap)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id""",
            self._tenant,
            name,
            chunking.language,
            embedding.model,
            embedding.revision,
            embedding.fingerprint,
            embedding.dimension,
            embedding.normalized,
            chunking.tokens,
            chunking.overlap,
        )
        generation_id = await connection.fetchval(
            """INSERT INTO footnote.generations (tenant_id, collection_id, number, state, activated_at)
               VALUES ($1, $2, 1, 'active', now()) RETURNING id""",
            self._tenant,
            collection_id,
        )
        await chunk_tables.create(connection, generation_id, dimension=embedding.dimension, language=chunking.language)
        return await self._active(connection, name)


_INFO = f"""
    SELECT {COLUMNS}, d.documents, d.chunks, d.updated_at FROM {ACTIVE}, LATERAL (
        SELECT count(*) AS documents, coalesce(sum(chunks), 0) AS chunks, max(ingested_at) AS updated_at
        FROM footnote.documents WHERE generation_id = g.id
    ) d WHERE c.tenant_id = $1"""


async def _require_language(connection: Connection, language: str) -> None:
    known = await connection.fetchval("SELECT array_agg(cfgname::text ORDER BY cfgname) FROM pg_ts_config")
    if language not in known:
        msg = f"{language!r} is no text search configuration of this database; it has: {', '.join(known)}"
        raise InvalidCollection(msg)


def _generation(row: asyncpg.Record) -> Generation:
    return Generation(
        id=row["id"],
        tenant_id=row["tenant_id"],
        collection=row["name"],
        number=row["number"],
        embedding=EmbeddingIdentity(
            model=row["embedding_model"],
            revision=row["embedding_revision"],
            fingerprint=row["embedding_fingerprint"],
            dimension=row["dimension"],
            normalized=row["normalized"],
        ),
        chunking=Chunking(tokens=row["chunk_tokens"], overlap=row["chunk_overlap"], language=row["language"]),
    )


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
    )
