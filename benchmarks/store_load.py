"""Fill a generation's table with made-up chunks by binary COPY, and build HNSW indexes over it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace

import psycopg2

from benchmarks.store_truth import Truth
from benchmarks.synthetic_chunks import Block, SyntheticChunks
from storage import chunk_tables
from storage.collections.collections import Collections
from storage.database import Connection, Database, owning
from storage.documents.rows import CHUNK_COLUMNS
from storage.generation import Chunking, EmbeddingIdentity, Generation

MADE_UP = EmbeddingIdentity("made-up", "1", "made-up", 384, normalized=True)
PARTS = {
    "rows": "SELECT pg_relation_size('{table}')",
    "vectors and texts out of line": "SELECT pg_table_size('{table}') - pg_relation_size('{table}')",
    "text index": "SELECT pg_relation_size('{table}_text')",
    "metadata index": "SELECT pg_relation_size('{table}_metadata')",
    "all without HNSW": "SELECT pg_total_relation_size('{table}')",
}


@dataclass(frozen=True, slots=True)
class HnswIndex:
    """An HNSW index over the vectors as they are, or over their halves."""

    kind: str
    m: int
    ef_construction: int

    @classmethod
    def parse(cls, text: str) -> HnswIndex:
        """Read ``vector:16:64``."""
        kind, m, ef_construction = text.split(":")
        return cls(kind, int(m), int(ef_construction))

    def __str__(self) -> str:
        return f"{self.kind}:{self.m}:{self.ef_construction}"

    def column(self, dimension: int) -> str:
        """Return what is indexed."""
        return "embedding" if self.kind == "vector" else f"(embedding::halfvec({dimension}))"


async def empty_table(database: Database, *, dimension: int) -> Generation:
    """Make a collection whose table has no HNSW index, or return the one that is there."""
    generation = await Collections(database).ensure(
        "store",
        embedding=replace(MADE_UP, dimension=dimension),
        chunking=Chunking(tokens=256, overlap=0, language="english"),
    )
    table = chunk_tables.qualified(generation.id)
    async with database.connection() as connection, owning(connection):
        if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"):  # noqa: S608 (a name of ours)
            await connection.execute(f"DROP INDEX IF EXISTS {table}_embedding")
    return generation


async def fill(database: Database, generation: Generation, chunks: SyntheticChunks, truth: Truth) -> float:
    """Write the chunks; return the seconds that the database took, making them left out."""
    seconds, done = 0.0, 0
    for block in chunks.blocks():
        truth.add(block)
        started = time.perf_counter()
        async with database.transaction(local={"statement_timeout": 0}) as connection:
            await _write(connection, generation, block)
        seconds += time.perf_counter() - started
        done += len(block.chunks)
        if done % 50_000 == 0:
            print(f"{done} chunks in {seconds:.0f} s", file=sys.stderr, flush=True)
    return seconds


async def _write(connection: Connection, generation: Generation, block: Block) -> None:
    await connection.execute(
        """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
            pipeline_fingerprint, bytes, chunks, access)
        SELECT $1, $2, id, id, id, '{}', md5(id) || md5(id), 'made-up', 0, 10, access::text[]
        FROM unnest($3::text[], $4::text[]) d(id, access)""",
        generation.tenant_id,
        generation.id,
        block.documents,
        [f"{{{','.join(access)}}}" for access in block.access],
    )
    whose = generation.tenant_id, generation.id
    await connection.copy_records_to_table(
        chunk_tables.table_name(generation.id),
        schema_name="footnote",
        columns=CHUNK_COLUMNS,
        records=[
            (*whose, document, str(node), index, None, 0, len(text), text, metadata, vector, node)
            for (node, document, index, text, metadata), vector in zip(block.chunks, block.vectors, strict=True)
        ],
    )


def vacuum(url: str, generation: Generation) -> float:
    """Vacuum and analyze the table, as autovacuum does after a load; return the seconds."""
    started = time.perf_counter()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {chunk_tables.qualified(generation.id)}")
        cursor.execute("VACUUM ANALYZE footnote.documents")
    connection.close()
    return time.perf_counter() - started


async def build(database: Database, generation: Generation, index: HnswIndex) -> tuple[float, int]:
    """Build an HNSW index, in place of one of its kind; return seconds and bytes."""
    name = f"{chunk_tables.qualified(generation.id)}_{'embedding' if index.kind == 'vector' else 'half'}"
    async with database.connection() as connection, owning(connection):
        await connection.execute(f"DROP INDEX IF EXISTS {name}")
    async with database.transaction(local={"statement_timeout": 0}) as connection, owning(connection):
        started = time.perf_counter()
        await connection.execute(
            f"""CREATE INDEX {name.split(".")[1]} ON {chunk_tables.qualified(generation.id)} USING hnsw
            ({index.column(generation.embedding.dimension)} {index.kind}_cosine_ops)
            WITH (m = {index.m}, ef_construction = {index.ef_construction})"""
        )
        seconds = time.perf_counter() - started
    async with database.connection() as connection:
        return seconds, await connection.fetchval(f"SELECT pg_relation_size('{name}')")


async def sizes(database: Database, generation: Generation) -> dict[str, int]:
    """Return the bytes of the table's parts."""
    table = chunk_tables.qualified(generation.id)
    async with database.connection() as connection:
        return {part: await connection.fetchval(sql.format(table=table)) for part, sql in PARTS.items()}
