"""Dropping the tables and rows of generations and collections that were marked before.

A generation is dropped in two steps. Marking it (the state ``dropped``) is one short transaction, after which nobody
reads or writes it any more, and waits for nobody. Its table and its rows go later, here: each attempt waits for those
that still use the table for `DROP_WAIT` at most, since others queue behind a lock that is waited for, and what is not
dropped stays marked for the next attempt. Several processes may be at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.caller import for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.errors import StoreTimeout

if TYPE_CHECKING:
    from storage.database import Database

DROP_WAIT = "500ms"
"""Shorter than PostgreSQL's ``deadlock_timeout``: an attempt that is in the way gives up before a deadlock is found."""
_LOCAL: Mapping[str, str | int] = {"statement_timeout": 0, "lock_timeout": f"'{DROP_WAIT}'"}


@for_all_tenants
async def drop_marked(database: Database) -> int:
    """Drop what is marked and not in use; return how many generations and collections are left for another attempt."""
    async with database.connection() as connection:
        marked = await connection.fetch("SELECT id FROM footnote.generations WHERE state = 'dropped' ORDER BY id")
    for row in marked:
        await drop_generation(database, row["id"])
    return await _forget(database)


@for_all_tenants
async def drop_generation(database: Database, generation_id: int) -> bool:
    """Drop a generation that is marked; return whether it is gone."""
    try:
        # nothing is locked while the table is waited for but the row, which nobody waits for
        return await _drop_table(database, generation_id) and await _drop_rows(database, generation_id)
    except StoreTimeout:
        return False


@rerun_on_conflict
async def _drop_table(database: Database, generation_id: int) -> bool:
    async with database.transaction(local=_LOCAL) as connection:
        free = await connection.fetchval(  # from writers, which lock its row, and other processes that drop it
            "SELECT true FROM footnote.generations WHERE id = $1 AND state = 'dropped' FOR UPDATE SKIP LOCKED",
            generation_id,
        )
        if free:
            await chunk_tables.drop(connection, generation_id)
    return bool(free)


@rerun_on_conflict
async def _drop_rows(database: Database, generation_id: int) -> bool:
    async with database.transaction(local=_LOCAL) as connection:
        await connection.execute("DELETE FROM footnote.generations WHERE id = $1 AND state = 'dropped'", generation_id)
    return True


@rerun_on_conflict
async def _forget(database: Database) -> int:
    """Cancel what is left of the jobs of deleted collections, and forget the collections that are empty."""
    async with database.transaction(local=_LOCAL) as connection:
        await connection.execute(_CANCEL_JOBS)
        await connection.execute(_FORGET_COLLECTIONS)
        left: int = await connection.fetchval(_LEFT)
    return left


# jobs that began before the deletion and whose row was locked by then; a new collection of that name has later ones
_JOBS = """
    FROM footnote.jobs j JOIN footnote.collections c ON c.tenant_id = j.tenant_id AND c.name = j.collection
    WHERE c.deleted_at IS NOT NULL AND j.created_at <= c.deleted_at AND j.status IN ('queued', 'running', 'failed')"""
_CANCEL_JOBS = f"""
    UPDATE footnote.jobs SET status = 'cancelled', run = NULL, next_try_at = NULL, finished_at = clock_timestamp()
    WHERE id IN (SELECT j.id {_JOBS} FOR UPDATE OF j SKIP LOCKED)"""
_FORGET_COLLECTIONS = f"""
    DELETE FROM footnote.collections d WHERE id IN (
        SELECT id FROM footnote.collections e WHERE deleted_at IS NOT NULL
            AND NOT EXISTS (SELECT FROM footnote.generations WHERE collection_id = e.id)
            AND NOT EXISTS (SELECT {_JOBS} AND c.id = e.id)
        ORDER BY id FOR UPDATE SKIP LOCKED)"""
_LEFT = """
    SELECT (SELECT count(*) FROM footnote.collections WHERE deleted_at IS NOT NULL)
        + (SELECT count(*) FROM footnote.generations WHERE state = 'dropped')"""
