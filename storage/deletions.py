"""Deleting documents so that no writer which read them before can bring them back."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import Connection

KEPT = timedelta(days=7)  # longer than any writer works on what it has read


async def lock_documents(
    connection: Connection, collection_id: int, *, sources: Collection[str] = (), ids: Collection[str] = ()
) -> None:
    """Let no other transaction write or delete these documents, in any generation, until this one ends."""
    keys = [f"source {collection_id} {source}" for source in sources] + [f"id {collection_id} {each}" for each in ids]
    await connection.execute(_LOCK, keys)


async def lock_flips(connection: Connection, collection_id: int, *, shared: bool = False) -> None:
    """Let no flip of a collection happen until this transaction ends; a flip itself waits for all who hold it.

    A row's lock would not do: those who share it go before one who waits to have it alone, so that a flip might wait
    for as long as documents come. Here they queue.
    """
    suffix = "_shared" if shared else ""
    await connection.execute(f"SELECT pg_advisory_xact_lock{suffix}(hashtextextended($1, 0))", f"flip {collection_id}")


async def mark_deleted(connection: Connection, collection_id: int, *, document_id: str) -> list[int]:
    """Delete a document from every generation of a collection, and remember it.

    A writer that read the document before, for whichever generation, is refused from the commit on; one that reads it
    later makes it anew. Return the generations that had it.
    """
    sources = await connection.fetch(_SOURCES, collection_id, document_id)
    await lock_documents(connection, collection_id, sources={row["source"] for row in sources}, ids={document_id})
    await connection.execute(_SUPERSEDED, collection_id, document_id)
    rows = await connection.fetch(
        """DELETE FROM footnote.documents d USING footnote.generations g
           WHERE g.id = d.generation_id AND g.collection_id = $1 AND d.id = $2
           RETURNING d.generation_id, d.source, g.state""",
        collection_id,
        document_id,
    )
    await connection.execute(
        """INSERT INTO footnote.tombstones (collection_id, document_id, source, revision)
           VALUES ($1, $2, $3, nextval('footnote.document_revisions'))
           ON CONFLICT (collection_id, document_id) DO UPDATE SET source = excluded.source,
               revision = excluded.revision, deleted_at = now()""",
        collection_id,
        document_id,
        # in others it may have one that is another document's by now
        next((row["source"] for row in rows if row["state"] == "active"), ""),
    )
    return [row["generation_id"] for row in rows]


async def is_marked_deleted(
    connection: Connection, collection_id: int, *, document_id: str, source: str | None, revision: int
) -> bool:
    """Tell whether a document was deleted after its version `revision` was read; the caller holds its lock.

    By its id, and by its source unless that is None: a file may have got another id, if its document was moved.
    """
    return bool(
        await connection.fetchval(
            """SELECT true FROM footnote.tombstones
               WHERE collection_id = $1 AND (document_id = $2 OR source = $3) AND revision > $4 LIMIT 1""",
            collection_id,
            document_id,
            source,
            revision,
        )
    )


async def forget_deletions(connection: Connection) -> int:
    """Drop what was remembered of deletions that are a week old and of which no build can know; return how many."""
    done = await connection.execute(
        """DELETE FROM footnote.tombstones t WHERE deleted_at < now() - $1::interval AND NOT EXISTS (
               SELECT FROM footnote.generations g WHERE g.collection_id = t.collection_id
               AND g.state IN ('building', 'ready') AND g.created_at < t.deleted_at)""",
        KEPT,
    )
    return int(done.split()[-1])


# in one order, so that two writers cannot wait for each other
_LOCK = """SELECT pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended(name, 0) AS key FROM unnest($1::text[]) AS name ORDER BY key OFFSET 0) AS keys"""
_SOURCES = """SELECT DISTINCT d.source FROM footnote.documents d JOIN footnote.generations g ON g.id = d.generation_id
              WHERE g.collection_id = $1 AND d.id = $2"""

# what had its source in another generation, and had given way to it: a rollback must not bring that back
_SUPERSEDED = """DELETE FROM footnote.documents d USING footnote.generations g
                 WHERE g.id = d.generation_id AND g.collection_id = $1 AND d.id <> $2
                 AND EXISTS (SELECT FROM footnote.documents own
                             JOIN footnote.generations og ON og.id = own.generation_id AND og.state = 'active'
                             WHERE og.collection_id = $1 AND own.id = $2
                             AND own.source = d.source AND own.revision > d.revision)
                 AND NOT EXISTS (SELECT FROM footnote.documents a JOIN footnote.generations ag
                                 ON ag.id = a.generation_id AND ag.state = 'active'
                                 WHERE ag.collection_id = $1 AND a.id = d.id)"""
