"""Building, activating, rolling back and pruning generations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from config.telemetry import spans
from storage import chunk_tables
from storage.caller import current_tenant, in_whole_tenant
from storage.chunk_tables import IndexOptions
from storage.collections.collections import FLIPS, insert_generation
from storage.collections.dropping import drop_generation, drop_marked
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.database import CHUNKS, SCHEMA
from storage.deletions import lock_flips
from storage.errors import (
    BuildRunning,
    CollectionNotFound,
    GenerationBehind,
    GenerationBusy,
    GenerationNotFound,
    GenerationNotReady,
    StoreTimeout,
)
from storage.generation import (
    COLUMNS,
    Chunking,
    EmbeddingIdentity,
    Generation,
    GenerationState,
    generation_of,
)
from storage.search.lexicon import Lexicon

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database, Session

DEFAULT_INDEX = IndexOptions()
MAX_NUMBER = 2**31 - 1
FLIP_WAIT = 60.0  # seconds for documents that are being written
PRUNE_WAIT = "1s"  # for those that write documents of a generation that does not answer; another time will do
INDEX_POLL = 0.5  # seconds between two looks at a vector index that another process builds


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """A generation as clients see it.

    Attributes:
        report: of the build and the gate.
        table: for the stock ``PGVectorStore``, in the schema ``footnote``.
        bytes: what that table and its indexes take on the disk.

    """

    name: str
    state: GenerationState
    documents: int
    chunks: int
    embedding_model: str
    dimension: int
    language: str
    chunk_tokens: int
    chunk_overlap: int
    table: str
    report: Mapping[str, object] | None
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Flip:
    """The names of the generations active before and now; equal if nothing changed."""

    before: str
    after: str


class Generations:
    """The generations of a tenant's collections; `index` configures their vector indexes."""

    def __init__(self, database: Database, *, index: IndexOptions = DEFAULT_INDEX) -> None:
        self._database = database
        self._index = index

    async def list(self, collection: str, *, limit: int, cursor: str | None = None) -> Page[GenerationInfo]:
        """List a collection's generations, the newest first.

        Raises:
            CollectionNotFound: there is no such collection.
            InvalidCursor: the cursor is none of ours.

        """
        before = _number(decode_cursor(cursor)) if cursor else MAX_NUMBER
        async with self._database.connection() as connection:
            collection_id = await self._collection_id(connection, collection)
            rows = await connection.fetch(_INFO, collection_id, before, limit + 1)
        items = tuple(_info(row) for row in rows[:limit])
        return Page(items, encode_cursor(items[-1].name) if len(rows) > limit else None)

    async def get(self, collection: str, name: str) -> Generation:
        """Return a generation.

        Raises:
            CollectionNotFound: there is no such collection.
            GenerationNotFound: it has no such generation.

        """
        async with self._database.connection() as connection:
            await self._collection_id(connection, collection)
            row = await connection.fetchrow(
                f"SELECT {COLUMNS} {_FROM} WHERE c.tenant_id = $1 AND c.name = $2 AND g.number = $3",
                current_tenant(),
                collection,
                _number(name),
            )
        if row is None:
            raise GenerationNotFound(collection, name)
        return generation_of(row)

    @asynccontextmanager
    async def building(self, active: Generation) -> AsyncIterator[None]:
        """Hold the exclusive lock for building a generation of this collection during the block.

        Raises:
            BuildRunning: another process holds it.

        """
        async with self._database.dedicated() as connection:
            key = f"build {active.collection_id}"
            if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key):
                raise BuildRunning(active.collection)
            yield

    async def begin(
        self,
        active: Generation,
        *,
        embedding: EmbeddingIdentity,
        chunking: Chunking,
        fingerprint: str,
        resume: bool,
    ) -> Generation:
        """Return a generation to build; call it within `building`.

        An unfinished one is continued if `resume` is true and it has the same `fingerprint`, which is a hash of the
        build's settings; otherwise it is dropped.

        Raises:
            CollectionNotFound: the collection was deleted.
            InvalidCollection: the language cannot be used.

        """
        generation, unfinished = await self._begin(active, embedding, chunking, fingerprint, resume=resume)
        for each in unfinished:
            await drop_generation(self._database, each)
        return generation

    @rerun_on_conflict
    async def _begin(
        self, active: Generation, embedding: EmbeddingIdentity, chunking: Chunking, fingerprint: str, *, resume: bool
    ) -> tuple[Generation, Sequence[int]]:
        """Return the generation to build, and the ids of those that were marked as dropped for it."""
        async with self._database.transaction() as connection:
            alive = "SELECT true FROM footnote.collections WHERE id = $1 AND deleted_at IS NULL FOR SHARE"
            if not await connection.fetchval(alive, active.collection_id):
                raise CollectionNotFound(active.collection)
            rows = await connection.fetch(
                f"""SELECT {COLUMNS}, g.build_fingerprint {_FROM} WHERE c.id = $1 AND g.activated_at IS NULL
                    AND g.state IN ('building', 'ready') ORDER BY g.number DESC""",
                active.collection_id,
            )
            for row in rows:
                if resume and row["build_fingerprint"] == fingerprint:
                    return generation_of(row), ()
            unfinished = [row["id"] for row in rows if row["state"] == "building"]
            await connection.execute("UPDATE footnote.generations SET state = 'dropped' WHERE id = ANY($1)", unfinished)
            made = await insert_generation(
                connection,
                tenant=current_tenant(),
                collection_id=active.collection_id,
                embedding=embedding,
                chunking=chunking,
                state="building",
                build_fingerprint=fingerprint,
            )
            (row,) = await connection.fetch(f"SELECT {COLUMNS} {_FROM} WHERE g.id = $1", made)
        return generation_of(row), unfinished

    @rerun_on_conflict
    async def finish(self, generation: Generation, *, report: Mapping[str, object]) -> None:
        """Record that a build is complete, with its report."""
        async with self._database.transaction() as connection:
            await connection.execute(
                """UPDATE footnote.generations SET report = $2::jsonb,
                       state = CASE state WHEN 'building' THEN 'ready' ELSE state END WHERE id = $1""",
                generation.id,
                json.dumps(dict(report)),
            )

    async def activate(self, collection: str, name: str, *, complete: bool = False) -> Flip:
        """Activate a generation in one transaction; rolling back is the same.

        Args:
            collection: its name.
            name: of the generation.
            complete: refuse a generation that lacks documents of the active one.

        Raises:
            CollectionNotFound: there is no such collection.
            GenerationNotFound: it has no such generation.
            GenerationNotReady: its build is not complete.
            GenerationBusy: documents were being written for longer than `FLIP_WAIT`.
            GenerationBehind: it lacks documents or has old versions, and `complete` is true.

        """
        try:
            return await self._activate(collection, name, complete=complete)
        except StoreTimeout as exc:
            raise GenerationBusy(collection, seconds=FLIP_WAIT) from exc

    @rerun_on_conflict
    @in_whole_tenant  # what it lacks counts, whoever may read it
    async def _activate(self, collection: str, name: str, *, complete: bool) -> Flip:
        milliseconds = int(FLIP_WAIT * 1000)  # the statements that wait have no other limit
        async with self._database.transaction(
            local={"statement_timeout": milliseconds, "lock_timeout": milliseconds}
        ) as connection:
            collection_id = await self._collection_id(connection, collection)
            await lock_flips(connection, collection_id)
            # not FOR UPDATE, which would wait for whoever keeps a generation from being dropped (`Lexicon`)
            rows = await connection.fetch(
                """SELECT id, number, state FROM footnote.generations WHERE collection_id = $1 AND state <> 'dropped'
                   ORDER BY id FOR NO KEY UPDATE""",
                collection_id,
            )
            if not rows:  # it was deleted meanwhile
                raise CollectionNotFound(collection)
            return await self._flip(connection, collection, name, rows=rows, complete=complete)

    async def previous(self, collection: str) -> str:
        """Return the name of the generation that was active before this one.

        Raises:
            CollectionNotFound: there is no such collection.
            GenerationNotReady: there was none, or it was dropped.

        """
        async with self._database.connection() as connection:
            number = await connection.fetchval(
                """SELECT number FROM footnote.generations WHERE collection_id = $1 AND state = 'retired'
                   ORDER BY retired_at DESC, number DESC LIMIT 1""",
                await self._collection_id(connection, collection),
            )
        if number is None:
            msg = f"collection {collection!r} has no generation to go back to"
            raise GenerationNotReady(msg)
        return str(number)

    async def tidy(self, generation: Generation, *, least: int = 0, stale_share: float = 0.0) -> None:
        """Build the vector index and count the lexemes, after documents were written.

        Args:
            generation: written to.
            least: minimum number of chunks for a vector index.
            stale_share: see `Lexicon.keep_up`.

        """
        await self._build_index(generation, least=least)
        await Lexicon(self._database, generation=generation).keep_up(stale_share=stale_share)

    async def _build_index(self, generation: Generation, *, least: int) -> None:
        dimension = generation.embedding.dimension
        if not chunk_tables.can_index(dimension):
            return
        async with self._database.dedicated(as_owner=True) as connection:
            if not await _may_build(connection, generation):
                return
            if least and await chunk_tables.has_fewer(connection, generation.id, than=least):
                return
            await chunk_tables.build_index(connection, generation.id, dimension=dimension, options=self._index)
            await chunk_tables.analyze(connection, generation.id)

    async def prune(self, collection: str, *, keep: int, spared_seconds: float) -> Sequence[str]:
        """Drop inactive generations, except the newest `keep` and those that a server may be reading.

        One that was active less than `spared_seconds` ago is kept, and so is one that a server has leased. The table of
        one that is being read by others is dropped later, by `storage.collections.dropping`.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """SELECT id, number FROM footnote.generations
                   WHERE collection_id = $1 AND state IN ('ready', 'retired', 'failed')
                   ORDER BY coalesce(retired_at, created_at) DESC, number DESC OFFSET $2""",
                await self._collection_id(connection, collection),
                keep,
            )
        pruned = [str(row["number"]) for row in rows if await self._mark_pruned(row["id"], spared_seconds)]
        await drop_marked(self._database)
        return pruned

    async def discard(self, collection: str, name: str) -> None:
        """Drop an inactive generation, even if it is leased.

        Raises:
            CollectionNotFound: there is no such collection.
            GenerationNotFound: it has no such generation.
            GenerationNotReady: it is active.

        """
        generation = await self.get(collection, name)
        async with self._database.connection() as connection:
            marked = await connection.fetchval(
                "UPDATE footnote.generations SET state = 'dropped' WHERE id = $1 AND state <> 'active' RETURNING true",
                generation.id,
            )
        if not marked:
            msg = f"generation {name} of collection {collection!r} answers; activate another one first"
            raise GenerationNotReady(msg)
        await drop_generation(self._database, generation.id)

    async def _flip(
        self, connection: Connection, collection: str, name: str, *, rows: Sequence[asyncpg.Record], complete: bool
    ) -> Flip:
        target = next((row for row in rows if row["number"] == _number(name)), None)
        active = next(row for row in rows if row["state"] == "active")
        if target is None:
            raise GenerationNotFound(collection, name)
        if target["state"] == "active":
            return Flip(name, name)
        if target["state"] in {"building", "failed"} and not (complete and target["state"] == "building"):
            msg = f"generation {name} of collection {collection!r} is not built to its end: --reindex --resume goes on"
            raise GenerationNotReady(msg)
        if complete and await connection.fetchval(f"SELECT EXISTS (SELECT {LAGGING})", active["id"], target["id"]):
            raise GenerationBehind(collection, name)
        await connection.execute(
            "UPDATE footnote.generations SET state = 'retired', retired_at = now() WHERE id = $1", active["id"]
        )
        await connection.execute(
            """UPDATE footnote.generations SET state = 'active', activated_at = now(), retired_at = NULL
               WHERE id = $1""",
            target["id"],
        )
        # pass on the trace context of the activation, for the servers that follow it
        await connection.execute("SELECT pg_notify($1, $2)", FLIPS, " ".join([collection, *spans.carrier().values()]))
        return Flip(str(active["number"]), str(target["number"]))

    @rerun_on_conflict
    async def _mark_pruned(self, generation_id: int, spared_seconds: float) -> bool:
        try:
            async with self._database.transaction(local={"lock_timeout": f"'{PRUNE_WAIT}'"}) as connection:
                if await connection.fetchval(_DROPPABLE, generation_id, float(spared_seconds)) is None:
                    return False
                await connection.execute(
                    "UPDATE footnote.generations SET state = 'dropped' WHERE id = $1", generation_id
                )
        except StoreTimeout:
            return False
        return True

    async def _collection_id(self, connection: Connection, name: str) -> int:
        found = await connection.fetchval(
            "SELECT id FROM footnote.collections WHERE tenant_id = $1 AND name = $2 AND deleted_at IS NULL",
            current_tenant(),
            name,
        )
        if found is None:
            raise CollectionNotFound(name)
        return int(found)


async def _may_build(connection: Session, generation: Generation) -> bool:
    """Wait for whoever builds the vector index; tell whether it is still to be built, by this session alone.

    It asks again and again, and is in no transaction meanwhile: ``CREATE INDEX CONCURRENTLY`` waits for the end of
    every other statement, so that a statement which waited for the builder would never end.
    """
    while not await chunk_tables.has_index(connection, generation.id):
        key = f"index {generation.id}"
        if await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key):
            return not await chunk_tables.has_index(connection, generation.id)
        await asyncio.sleep(INDEX_POLL)
    return False


def reader_lease(generation: Generation, *, holder: object) -> str:
    """Return the name of the lease that protects a generation while a server reads it."""
    return f"generation {generation.id} {holder}"


# documents of generation $1 that generation $2 lacks, or has in an older version; attachments follow theirs
LAGGING = """
    FROM footnote.documents a LEFT JOIN footnote.documents b ON b.generation_id = $2 AND b.id = a.id
    WHERE a.generation_id = $1 AND a.parent IS NULL AND (b.id IS NULL OR (a.revision > b.revision AND
        (a.content_hash, a.source, a.title, a.metadata) IS DISTINCT FROM
        (b.content_hash, b.source, b.title, b.metadata)))"""
_FROM = """FROM footnote.generations g
    JOIN footnote.collections c ON c.id = g.collection_id AND c.deleted_at IS NULL AND g.state <> 'dropped'"""
_INFO = f"""
    SELECT g.*, g.report::text AS report_json, d.documents, d.chunks,
        coalesce(pg_total_relation_size(to_regclass('{SCHEMA}.{CHUNKS}' || g.id)), 0) AS bytes
    FROM footnote.generations g, LATERAL (
        SELECT count(*) AS documents, coalesce(sum(chunks), 0) AS chunks
        FROM footnote.documents WHERE generation_id = g.id
    ) d WHERE g.collection_id = $1 AND g.state <> 'dropped' AND g.number < $2 ORDER BY g.number DESC LIMIT $3"""
_DROPPABLE = """
    SELECT true FROM footnote.generations g WHERE g.id = $1 AND g.state IN ('ready', 'retired', 'failed')
    AND coalesce(g.retired_at, g.created_at) < now() - make_interval(secs => $2)
    AND NOT EXISTS (SELECT FROM footnote.leases l WHERE l.name LIKE 'generation ' || g.id || ' %'
                    AND l.expires_at > clock_timestamp())
    FOR UPDATE"""


def _number(name: str) -> int:
    return int(name) if name.isascii() and name.isdigit() and len(name) <= 9 else 0  # noqa: PLR2004 (fits an integer)


def _info(row: asyncpg.Record) -> GenerationInfo:
    return GenerationInfo(
        name=str(row["number"]),
        state=row["state"],
        documents=row["documents"],
        chunks=int(row["chunks"]),
        embedding_model=row["embedding_model"],
        dimension=row["dimension"],
        language=row["language"],
        chunk_tokens=row["chunk_tokens"],
        chunk_overlap=row["chunk_overlap"],
        table=chunk_tables.table_name(row["id"]),
        report=json.loads(row["report_json"]) if row["report_json"] else None,
        created_at=row["created_at"],
        activated_at=row["activated_at"],
        retired_at=row["retired_at"],
        bytes=row["bytes"],
    )
