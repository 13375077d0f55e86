"""Sealing: lines of committed transactions get their places in the chain, one process at a time.

A line is not sealed by the transaction that writes it: each would then wait for the end of the one before, and a
document takes minutes to write. Only the tables' owner may add to the chain, and takes nothing from anybody but which
lines wait. See docs/adr/0020-the-audit-record.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from storage.audit.chain import GENESIS, LOCK, REMOVED, Entry, digest_of, entry_after
from storage.audit.lines import COLUMNS, line_of
from storage.caller import for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.database import owning
from storage.errors import StoreFailed

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

BATCH = 500
MOST_ENTRIES = 2**62
"""What no chain reaches; an entry of beyond was put in by hand."""

# without an index on both, a line that was put on the queue twice would stop it
_PENDING = f"""
    SELECT p.at AS queued_at, p.id AS queued_id, c.sequence, {COLUMNS}
    FROM (SELECT at, id FROM footnote.audit_pending ORDER BY at, id LIMIT $1) p
    LEFT JOIN footnote.audit l ON l.at = p.at AND l.id = p.id
    LEFT JOIN footnote.audit_chain c ON c.at = p.at AND c.id = p.id
    ORDER BY p.at, p.id"""
_OLDEST = "SELECT at, id FROM footnote.audit_pending ORDER BY at, id LIMIT 1"
_LAST = "SELECT sequence, hash FROM footnote.audit_chain ORDER BY sequence DESC LIMIT 1"
_APPEND = """
    INSERT INTO footnote.audit_chain (sequence, at, id, digest, hash)
    SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::uuid[], $4::bytea[], $5::bytea[])"""
_DONE = """
    DELETE FROM footnote.audit_pending p USING unnest($1::timestamptz[], $2::uuid[]) AS done (at, id)
    WHERE p.at = done.at AND p.id = done.id"""


@for_all_tenants
async def seal(database: Database, *, waits: bool = False) -> int:
    """Seal the lines that are committed by now; return how many.

    Where another process is at it, nothing is done, unless it `waits`.

    Raises:
        StoreFailed: no entry can come after the chain's last one.

    """
    sealed = 0
    while (batch := await _seal_batch(database, waits=waits)) == BATCH:
        sealed += batch
    return sealed + batch


@for_all_tenants
async def oldest_pending(database: Database) -> tuple[datetime, UUID] | None:
    """Return when the line was written that has waited to be sealed for longest, and its id; None: none waits."""
    async with database.transaction(readonly=True) as connection:
        row = await connection.fetchrow(_OLDEST)
    return (row["at"], row["id"]) if row else None


@rerun_on_conflict
async def _seal_batch(database: Database, *, waits: bool) -> int:
    async with database.transaction() as connection:
        if waits:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        elif not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK):
            return 0
        async with owning(connection):
            return await seal_within(connection, most=BATCH)


async def seal_within(connection: Connection, *, most: int) -> int:
    """Seal at most so many lines; return how many were taken up.

    The transaction is all tenants', acts as the tables' owner, and holds `LOCK`.
    """
    rows = await connection.fetch(_PENDING, most)
    if not rows:
        return 0
    await _append(connection, [row for row in rows if row["sequence"] is None])
    await connection.execute(_DONE, [row["queued_at"] for row in rows], [row["queued_id"] for row in rows])
    return len(rows)


async def _append(connection: Connection, rows: Sequence[asyncpg.Record]) -> None:
    last = await connection.fetchrow(_LAST)
    sequence, previous = (last["sequence"], last["hash"]) if last else (0, GENESIS)
    if not 0 <= sequence <= MOST_ENTRIES:
        msg = f"the audit record's chain ends with entry {sequence}, which somebody put in: none can come after it"
        raise StoreFailed(msg)
    entries: list[Entry] = []
    for row in rows:
        sequence += 1
        digest = REMOVED if row["id"] is None else digest_of(line_of(row))
        entry = entry_after(previous, sequence=sequence, at=row["queued_at"], line_id=row["queued_id"], digest=digest)
        entries.append(entry)
        previous = entry.hash
    await connection.execute(
        _APPEND,
        [entry.sequence for entry in entries],
        [entry.at for entry in entries],
        [entry.id for entry in entries],
        [entry.digest for entry in entries],
        [entry.hash for entry in entries],
    )
