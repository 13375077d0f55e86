"""Tenants: made, listed, suspended, and deleted with all that is theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from storage.caller import acting_as, for_all_tenants, service_of
from storage.collections.dropping import drop_generation
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.errors import InvalidTenant, TenantBusy, TenantExists, TenantNotFound
from storage.generation import DEFAULT_TENANT, NAME_PATTERN
from storage.jobs import queue

if TYPE_CHECKING:
    from storage.database import Connection, Database

TenantStatus = Literal["active", "suspended", "deleting"]

# what is deleted, in the order in which rows point at each other; the rest goes with them
_OWNED = (
    "api_keys", "jobs", "idempotency_keys", "evidence", "feedback", "conversations", "source_runs", "web_pages",
    "leases", "evaluations", "golden_questions", "collections", "originals",
)  # fmt: skip
_LIST = """
    SELECT id, status, created_at, (SELECT count(*) FROM footnote.collections c
        WHERE c.tenant_id = t.id AND c.deleted_at IS NULL) AS collections, (SELECT count(*) FROM footnote.documents d
        JOIN footnote.generations g ON g.id = d.generation_id AND g.state = 'active'
        WHERE d.tenant_id = t.id) AS documents,
        (SELECT count(*) FROM footnote.jobs j WHERE j.tenant_id = t.id AND j.status IN ('queued', 'running')) AS jobs
    FROM footnote.tenants t"""
_COUNT = """
    SELECT (SELECT count(*) FROM footnote.documents WHERE tenant_id = $1) AS documents,
        (SELECT count(*) FROM footnote.generations WHERE tenant_id = $1) AS generations,
        (SELECT coalesce(sum(chunks), 0) FROM footnote.documents WHERE tenant_id = $1) AS chunks,
        (SELECT count(*) FROM footnote.turns WHERE tenant_id = $1) AS turns,
        (SELECT coalesce(sum(bytes), 0)::bigint FROM footnote.originals WHERE tenant_id = $1) AS original_bytes"""


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """A tenant; `documents` are those of active generations, `jobs` those that have not ended."""

    id: str
    status: TenantStatus
    created_at: datetime
    collections: int
    documents: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a tenant's requests are answered; `since` tells it from another that had its name before."""

    status: TenantStatus
    since: datetime


class Tenants:
    """All tenants of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @for_all_tenants
    async def create(self, tenant: str) -> None:
        """Make a tenant.

        Raises:
            InvalidTenant: the name cannot be used.
            TenantExists: it is taken.

        """
        if re.fullmatch(NAME_PATTERN, tenant) is None:
            msg = f"{tenant[:80]!r} is no tenant's name: use a-z, 0-9, _ and -, a letter or digit first, 63 at most"
            raise InvalidTenant(msg)
        async with self._database.connection() as connection:
            made = await connection.fetchval(
                "INSERT INTO footnote.tenants (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true", tenant
            )
        if not made:
            raise TenantExists(tenant)

    @for_all_tenants
    async def list(self) -> Sequence[TenantInfo]:
        """List all tenants by name."""
        async with self._database.connection() as connection:
            return [TenantInfo(**dict(row)) for row in await connection.fetch(f"{_LIST} ORDER BY id")]

    @for_all_tenants
    async def page(self, *, limit: int, cursor: str | None = None) -> Page[TenantInfo]:
        """List all tenants by name, a page at a time.

        Raises:
            InvalidCursor: Footnote did not issue the cursor.

        """
        after = decode_cursor(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f'{_LIST} WHERE id COLLATE "C" > $1 ORDER BY id COLLATE "C" LIMIT $2', after, limit + 1
            )
        items = tuple(TenantInfo(**dict(row)) for row in rows[:limit])
        return Page(items, encode_cursor(items[-1].id) if len(rows) > limit else None)

    @for_all_tenants
    async def find(self, tenant: str) -> TenantInfo | None:
        """Describe a tenant; None: there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_LIST} WHERE id = $1", tenant)
        return None if row is None else TenantInfo(**dict(row))

    async def status(self, tenant: str) -> TenantStatus | None:
        """Return whether a tenant's requests are answered; None: there is no such tenant."""
        found = await self.standing(tenant)
        return None if found is None else found.status

    @for_all_tenants
    async def standing(self, tenant: str) -> Standing | None:
        """Return whether a tenant's requests are answered, and since when it is there; None: there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT status, created_at FROM footnote.tenants WHERE id = $1", tenant)
        return None if row is None else Standing(row["status"], row["created_at"])

    async def suspend(self, tenant: str) -> None:
        """Let no request of a tenant be answered, and none of its jobs run, until it is resumed; its rows stay.

        Jobs that run are stopped, and begin anew then.

        Raises:
            TenantNotFound: there is none, or it is being deleted.

        """
        await self._mark(tenant, "suspended")

    async def resume(self, tenant: str) -> None:
        """Let a tenant's requests be answered, and its jobs run, again.

        Raises:
            TenantNotFound: there is none, or it is being deleted.

        """
        await self._mark(tenant, "active")

    async def delete(self, tenant: str) -> Mapping[str, int]:
        """Delete a tenant with all that is its own; return how much there was of each.

        Its requests are refused from here on. Broken off, it is gone on with by the next call.

        Raises:
            InvalidTenant: it is the one that everybody is in where authentication is off.
            TenantNotFound: there is none.
            TenantBusy: a table is being read or written; call it again.

        """
        if tenant == DEFAULT_TENANT:
            msg = f"the tenant {tenant!r} is Footnote's own and stays; delete its collections"
            raise InvalidTenant(msg)
        await self._mark(tenant, "deleting")
        with acting_as(service_of(tenant)):
            counted = await self._counted(tenant)
            for generation in await self._drop_marks(tenant):
                if not await drop_generation(self._database, generation):
                    raise TenantBusy(tenant)
            removed = await self._delete_rows(tenant)
        await self._forget(tenant)
        return {**counted, **removed}

    @rerun_on_conflict
    @for_all_tenants
    async def _mark(self, tenant: str, status: TenantStatus) -> None:
        async with self._database.transaction() as connection:
            found = await connection.fetchval(
                """UPDATE footnote.tenants SET status = $2 WHERE id = $1 AND (status <> 'deleting' OR $2 = 'deleting')
                   RETURNING true""",
                tenant,
                status,
            )
            await _tell_workers(connection, tenant, may_work=status == "active")
        if not found:
            raise TenantNotFound(tenant)

    async def _counted(self, tenant: str) -> Mapping[str, int]:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_COUNT, tenant)
        return {name: int(number) for name, number in dict(row or {}).items()}

    @rerun_on_conflict
    async def _drop_marks(self, tenant: str) -> Sequence[int]:
        """Mark all generations as dropped, and cancel all jobs; return the generations' ids."""
        async with self._database.transaction() as connection:
            await connection.execute(
                """UPDATE footnote.collections SET deleted_at = coalesce(deleted_at, clock_timestamp())
                   WHERE tenant_id = $1""",
                tenant,
            )
            await connection.execute("DELETE FROM footnote.jobs WHERE tenant_id = $1 AND status = 'queued'", tenant)
            rows = await connection.fetch(
                """WITH locked AS (SELECT id FROM footnote.generations WHERE tenant_id = $1 ORDER BY id
                                   FOR NO KEY UPDATE)
                   UPDATE footnote.generations g SET state = 'dropped' FROM locked WHERE g.id = locked.id
                   RETURNING g.id""",
                tenant,
            )
        return [row["id"] for row in rows]

    @rerun_on_conflict
    async def _delete_rows(self, tenant: str) -> Mapping[str, int]:
        removed = {}
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            for table in _OWNED:
                done = await connection.execute(f"DELETE FROM footnote.{table} WHERE tenant_id = $1", tenant)
                removed[table] = int(done.split()[-1])
        return removed

    @rerun_on_conflict
    @for_all_tenants
    async def _forget(self, tenant: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM footnote.tenants WHERE id = $1 AND status = 'deleting'", tenant)


async def _tell_workers(connection: Connection, tenant: str, *, may_work: bool) -> None:
    """Let workers take up the jobs of a tenant, or stop those that run, once the transaction is committed."""
    if may_work:
        await queue.notify_submitted(connection)
        return
    rows = await connection.fetch("SELECT id FROM footnote.jobs WHERE tenant_id = $1 AND status = 'running'", tenant)
    await queue.notify_cancelled(connection, [row["id"] for row in rows])
