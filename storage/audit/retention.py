"""Months of the audit record: made ahead, and dropped after their time, of which the record tells, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from storage.audit.chain import GENESIS, LOCK, Entry
from storage.audit.lines import moment
from storage.audit.pruned import ACTION, Pruned, month_of, pruned_lines, told_of
from storage.audit.sealing import BATCH, seal, seal_within
from storage.caller import for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.database import owning
from storage.errors import StoreTimeout

if TYPE_CHECKING:
    from storage.database import Connection, Database

MONTHS_AHEAD = 3
_log = structlog.get_logger(__name__)
_LOCAL: Mapping[str, str | int] = {"statement_timeout": 0, "lock_timeout": "'500ms'"}  # others queue behind it
_MAKE = """
    SELECT count(*) FILTER (WHERE footnote.make_audit_partition((date_trunc('month', now() AT TIME ZONE 'UTC')
        + n * interval '1 month')::date)) FROM generate_series(0, $1::integer) AS n"""
_OLD_PARTITIONS = """
    SELECT inhrelid::regclass::text AS part FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
    WHERE inhparent = 'footnote.audit'::regclass AND c.relname ~ '^audit_[0-9]{4}_[0-9]{2}$'
        AND to_date(right(c.relname, 7), 'YYYY_MM') < ($1::timestamptz AT TIME ZONE 'UTC')::date
    ORDER BY c.relname"""
_OLD_REST = "SELECT EXISTS (SELECT FROM footnote.audit WHERE at < $1)"

# the line that tells of it, sealed with this transaction, stays at least
_CUT = """
    SELECT sequence, at, id, digest, hash FROM footnote.audit_chain
    WHERE sequence < coalesce((SELECT min(sequence) FROM footnote.audit_chain WHERE at >= $1), 9223372036854775807)
    ORDER BY sequence DESC LIMIT 2"""


@for_all_tenants
async def make_partitions(database: Database) -> int:
    """Make the partitions of this month and the next ones; return how many were missing.

    A month that has begun in the partition for what has no other stays there.
    """
    try:
        return await _made(database)
    except StoreTimeout:  # another time
        return 0


@for_all_tenants
async def prune(database: Database, *, days: int, now: datetime | None = None) -> int:
    """Drop the months whose lines are all older than so many days; return how many lines there were.

    The chain begins later then, and a line of the record says where, and after which hash.
    """
    boundary = month_of((now or datetime.now(UTC)) - timedelta(days=days))
    async with database.transaction(readonly=True) as connection:
        if not await _has_old(connection, boundary):
            return 0
    await seal(database, waits=True)
    try:
        dropped = await _pruned(database, boundary, days=days)
    except StoreTimeout:  # somebody reads it, or writes: another time
        return 0
    if dropped is None:
        return 0
    _log.info("old lines of the audit record were dropped", before=moment(boundary), lines=dropped)
    return dropped


@rerun_on_conflict
async def _made(database: Database) -> int:
    async with database.transaction(local=_LOCAL) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        async with owning(connection):
            made: int = await connection.fetchval(_MAKE, MONTHS_AHEAD)
    return made


async def _has_old(connection: Connection, boundary: datetime) -> bool:
    return bool(await connection.fetch(_OLD_PARTITIONS, boundary) or await connection.fetchval(_OLD_REST, boundary))


@rerun_on_conflict
async def _pruned(database: Database, boundary: datetime, *, days: int) -> int | None:
    """Return how many lines were dropped; None: another process has done it meanwhile."""
    async with database.transaction(local=_LOCAL) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if not await _has_old(connection, boundary):
            return None
        async with owning(connection):
            return await _dropped(connection, boundary, days=days)


async def _dropped(connection: Connection, boundary: datetime, *, days: int) -> int:
    """Drop what is older, as the tables' owner; a line that tells of it is sealed before the transaction ends."""
    await _seal_all(connection)
    lines: int = await connection.fetchval("SELECT count(*) FROM footnote.audit WHERE at < $1", boundary)
    previous, entry = await _to_be_cut(connection, boundary)
    told = {"before": moment(boundary), "lines": lines, "retention_days": days, **told_of(previous, entry)}
    await connection.execute("SELECT footnote.audit_note($1, '', 'audit', NULL, $2::jsonb)", ACTION, json.dumps(told))
    await _seal_all(connection)
    if entry is not None:
        await connection.execute("DELETE FROM footnote.audit_chain WHERE sequence <= $1", entry.sequence)
    for row in await connection.fetch(_OLD_PARTITIONS, boundary):
        await connection.execute(f"DROP TABLE {row['part']}")  # quoted by PostgreSQL
    await connection.execute("DELETE FROM footnote.audit WHERE at < $1", boundary)
    return lines


async def _seal_all(connection: Connection) -> None:
    while await seal_within(connection, most=BATCH):
        pass


async def _to_be_cut(connection: Connection, boundary: datetime) -> tuple[bytes, Entry | None]:
    """Return the last entry before the first line that stays, and the hash before it; None: the chain has none."""
    rows = await connection.fetch(_CUT, boundary)
    if len(rows) == 2:  # noqa: PLR2004 (the entry, and the one before)
        return rows[1]["hash"], Entry(**rows[0])
    former = await _last_pruned(connection)
    if rows:
        return former.hash if former else GENESIS, Entry(**rows[0])
    return (former.previous, former.entry) if former else (GENESIS, None)  # nothing goes from its beginning


async def _last_pruned(connection: Connection) -> Pruned | None:
    """Return what was said of the entry before the chain's first one."""
    first = await connection.fetchval("SELECT min(sequence) FROM footnote.audit_chain")
    found = None
    async for _, said in pruned_lines(connection):
        if isinstance(said, Pruned) and said.sequence + 1 == first:
            found = said
    return found
