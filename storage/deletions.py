"""Deleting documents so that no writer that read them before can write them again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from storage.caller import for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.errors import DocumentAttached

if TYPE_CHECKING:
    from storage.database import Connection, Database

KEPT = timedelta(days=7)  # longer than any writer holds what it has read


async def lock_documents(
    connection: Connection, collection_id: int, *, sources: Collection[str] = (), ids: Collection[str] = ()
) -> None:
    """Lock documents against writes and deletions, in every generation, until the transaction ends."""
    keys = [f"source {collection_id} {source}" for source in sources] + [f"id {collection_id} {each}" for each in ids]
    await connection.execute(_LOCK, keys)


async def lock_flips(connection: Connection, collection_id: int, *, shared: bool = False) -> None:
    """Prevent activations in a collection until this transaction ends; an activation takes the lock exclusively.

    A row lock would not do: shared holders overtake a waiting exclusive one, so that an activation could starve.
    Advisory locks queue.
    """
    suffix = "_shared" if shared else ""
    await connection.execute(f"SELECT pg_advisory_xact_lock{suffix}(hashtextextended($1, 0))", f"flip {collection_id}")


async def mark_deleted(connection: Connection, collection_id: int, *, document_id: str) -> list[int]:
    """Delete a document, with its attachments, from every generation of a collection, and leave a tombstone.

    After the commit, a writer that read the document before, for any generation, is refused; one that reads it later
    creates it again. Return the generations that had it.

    Raises:
        DocumentAttached: it is an attachment of another document.

    """
    stored = await connection.fetch(_STORED, collection_id, document_id)
    if stored and all(row["parent"] is not None for row in stored):
        raise DocumentAttached(document_id, parent=stored[0]["parent"])
    await lock_documents(connection, collection_id, sources={row["source"] for row in stored}, ids={document_id})
    await connection.execute(_SUPERSEDED, collection_id, document_id)
    rows = await connection.fetch(
        """DELETE FROM footnote.documents d USING footnote.generations g
           WHERE g.id = d.generation_id AND g.collection_id = $1 AND d.id = $2 AND d.parent IS NULL
           RETURNING d.generation_id, d.source, g.state""",
        collection_id,
        document_id,
    )
    await connection.execute(
        """INSERT INTO footnote.tombstones (collection_id, document_id, source, revision)
           SELECT id, $2, $3, nextval('footnote.document_revisions')
           FROM (SELECT id FROM footnote.collections WHERE id = $1 FOR KEY SHARE) AS c
           ON CONFLICT (collection_id, document_id) DO UPDATE SET source = excluded.source,
               revision = excluded.revision, deleted_at = now()""",
        collection_id,
        document_id,
        # in others its source may be another document's by now
        next((row["source"] for row in rows if row["state"] == "active"), ""),
    )
    return [row["generation_id"] for row in rows]


async def is_marked_deleted(
    connection: Connection, collection_id: int, *, document_id: str, source: str | None, revision: int
) -> bool:
    """Tell whether a document was deleted after `revision` was read; the caller holds its lock.

    Checks the id, and the source unless that is None: a file's document may have another id after a move.
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


@rerun_on_conflict
@for_all_tenants
async def forget_deletions(database: Database) -> int:
    """Delete tombstones that are a week old and that no unfinished build may need; return how many."""
    async with database.connection() as connection:
        done = await connection.execute(
            """DELETE FROM footnote.tombstones t WHERE deleted_at < now() - $1::interval AND NOT EXISTS (
                   SELECT FROM footnote.generations g WHERE g.collection_id = t.collection_id
                   AND g.state IN ('building', 'ready') AND g.created_at < t.deleted_at)""",
            KEPT,
        )
    return int(done.split()[-1])


# in a fixed order, to avoid deadlocks
_LOCK = """SELECT pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended(name, 0) AS key FROM unnest($1::text[]) AS name ORDER BY key OFFSET 0) AS keys"""
_STORED = """SELECT DISTINCT d.source, d.parent FROM footnote.documents d
             JOIN footnote.generations g ON g.id = d.generation_id WHERE g.collection_id = $1 AND d.id = $2"""

# documents that it displaced in the active generation: a rollback must not bring them back
_SUPERSEDED = """DELETE FROM footnote.documents d USING footnote.generations g
                 WHERE g.id = d.generation_id AND g.collection_id = $1 AND d.id <> $2 AND d.parent IS NULL
                 AND EXISTS (SELECT FROM footnote.documents own
                             JOIN footnote.generations og ON og.id = own.generation_id AND og.state = 'active'
                             WHERE og.collection_id = $1 AND own.id = $2
                             AND own.source = d.source AND own.revision > d.revision)
                 AND NOT EXISTS (SELECT FROM footnote.documents a JOIN footnote.generations ag
                                 ON ag.id = a.generation_id AND ag.state = 'active'
                                 WHERE ag.collection_id = $1 AND a.id = d.id)"""
