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
from storage.errors import InvalidTenant, TenantBusy, TenantExists, TenantNotFound
from storage.generation import DEFAULT_TENANT, NAME_PATTERN

if TYPE_CHECKING:
    from storage.database import Database

TenantStatus = Literal["active", "suspended", "deleting"]

# what is deleted, in the order in which rows point at each other; the rest goes with them
_OWNED = (
    "api_keys", "jobs", "idempotency_keys", "feedback", "conversations", "source_runs", "web_pages", "leases",
    "collections", "originals",
)  # fmt: skip
_LIST = """
    SELECT id, status, created_at, (SELECT count(*) FROM footnote.collections c
        WHERE c.tenant_id = t.id AND c.deleted_at IS NULL) AS collections, (SELECT count(*) FROM footnote.documents d
        JOIN footnote.generations g ON g.id = d.generation_id AND g.state = 'active'
        WHERE d.tenant_id = t.id) AS documents
    FROM footnote.tenants t ORDER BY id"""
_COUNT = """
    SELECT (SELECT count(*) FROM footnote.documents WHERE tenant_id = $1) AS documents,
        (SELECT count(*) FROM footnote.generations WHERE tenant_id = $1) AS generations,
        (SELECT coalesce(sum(chunks), 0) FROM footnote.documents WHERE tenant_id = $1) AS chunks,
        (SELECT count(*) FROM footnote.turns WHERE tenant_id = $1) AS turns,
        (SELECT coalesce(sum(bytes), 0)::bigint FROM footnote.originals WHERE tenant_id = $1) AS original_bytes"""


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """A tenant; `documents` are those of active generations."""

    id: str
    status: TenantStatus
    created_at: datetime
    collections: int
    documents: int


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
            return [TenantInfo(**dict(row)) for row in await connection.fetch(_LIST)]

    @for_all_tenants
    async def status(self, tenant: str) -> TenantStatus | None:
        """Return whether a tenant's requests are answered; None: there is no such tenant."""
        async with self._database.connection() as connection:
            found: TenantStatus | None = await connection.fetchval(
                "SELECT status FROM footnote.tenants WHERE id = $1", tenant
            )
        return found

    async def suspend(self, tenant: str) -> None:
        """Let no request of a tenant be answered until it is resumed; its rows stay.

        Raises:
            TenantNotFound: there is none, or it is being deleted.

        """
        await self._mark(tenant, "suspended")

    async def resume(self, tenant: str) -> None:
        """Let a tenant's requests be answered again.

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
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                """UPDATE footnote.tenants SET status = $2 WHERE id = $1 AND (status <> 'deleting' OR $2 = 'deleting')
                   RETURNING true""",
                tenant,
                status,
            )
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
