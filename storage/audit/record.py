"""Reading the audit record, and noting what leaves no row that a trigger sees: refusals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from storage.audit import names
from storage.audit.lines import COLUMNS, AuditLine, Outcome, line_of
from storage.caller import current_tenant, for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_moment, encode_moment
from storage.database import storable

if TYPE_CHECKING:
    from storage.database import Database

PAGE = 500

_LIST = f"""
    SELECT {COLUMNS} FROM footnote.audit l
    WHERE ($1::text IS NULL OR l.tenant_id = $1)
        AND ($2::timestamptz IS NULL OR l.at >= $2) AND ($3::timestamptz IS NULL OR l.at < $3)
        AND ($4::text IS NULL OR starts_with(l.action, $4))
        AND ($5::text IS NULL OR l.subject = footnote.audit_name($5))
        AND ($6::timestamptz IS NULL OR (l.at, l.id) < ($6, $7::uuid))
    ORDER BY l.at DESC, l.id DESC LIMIT $8"""
_EXPORT = f"""
    SELECT {COLUMNS}, c.sequence, encode(c.hash, 'hex') AS hash
    FROM (SELECT * FROM footnote.audit l WHERE ($1::text IS NULL OR l.tenant_id = $1)
            AND ($2::timestamptz IS NULL OR l.at >= $2) AND ($3::timestamptz IS NULL OR l.at < $3)
            AND ($4::timestamptz IS NULL OR (l.at, l.id) > ($4, $5::uuid))
        ORDER BY l.at, l.id LIMIT $6) l
    LEFT JOIN footnote.audit_chain c ON c.at = l.at AND c.id = l.id ORDER BY l.at, l.id"""
_KNOWS = """
    SELECT EXISTS (SELECT FROM footnote.tenants WHERE id = $1)
        OR EXISTS (SELECT FROM footnote.audit WHERE tenant_id = $1)"""
_NOTE = "SELECT footnote.audit_refusals($1::jsonb)"


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines.

    Attributes:
        since: and no earlier.
        until: and earlier.
        action: ``key.create``, or how that begins: ``key.``.
        subject: who did it.

    """

    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused.

    Attributes:
        tenant: of whoever asked; None: of the key, if there is one with that id, else nobody's.
        about: what it would have been done to.
        told: further members, `after` in the record.

    """

    action: str
    about: str
    outcome: Outcome
    tenant: str | None = None
    subject: str = ""
    key: str | None = None
    client: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    told: Mapping[str, object] = field(default_factory=dict)


class AuditRecord:
    """The record of one tenant, or where it is asked for, of all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, which: AuditFilter, *, limit: int, cursor: str | None = None) -> Page[AuditLine]:
        """List the lines of the caller's tenant, the newest first.

        Raises:
            InvalidCursor: Footnote did not issue the cursor.

        """
        return await self._list(current_tenant(), which, limit=limit, cursor=cursor)

    async def names(self, lines: Sequence[AuditLine], /, *, documents: bool, keys: bool) -> Mapping[str, str]:
        """Name what lines are about, as `names.names_in`."""
        return await names.names_in(self._database, lines, documents=documents, keys=keys)

    @for_all_tenants
    async def list_any(
        self, tenant: str | None, which: AuditFilter, *, limit: int, cursor: str | None = None
    ) -> Page[AuditLine]:
        """List the lines of a tenant, also of one that is deleted, or of all, the newest first."""
        return await self._list(tenant, which, limit=limit, cursor=cursor)

    @for_all_tenants
    async def knows(self, tenant: str) -> bool:
        """Tell whether there is such a tenant, or a line of one."""
        async with self._database.transaction(readonly=True) as connection:
            return bool(await connection.fetchval(_KNOWS, tenant))

    async def export(self, tenant: str | None, which: AuditFilter) -> AsyncIterator[Mapping[str, object]]:
        """Yield the lines of a tenant, or of all, the oldest first, each with its place in the chain and its hash."""
        after: AuditLine | None = None
        while page := await self._exported(tenant, which, after):
            for line, sequence, sealed in page:
                yield {**line.members(), "sequence": sequence, "hash": sealed}
            after = page[-1][0]

    @rerun_on_conflict
    @for_all_tenants
    async def note(self, refusals: Sequence[Refusal]) -> None:
        """Write lines of what was refused."""
        async with self._database.transaction() as connection:
            await connection.execute(_NOTE, json.dumps([_noted(each) for each in refusals]))

    async def _list(self, tenant: str | None, which: AuditFilter, *, limit: int, cursor: str | None) -> Page[AuditLine]:
        moment, own_id = decode_moment(cursor)
        async with self._database.transaction(readonly=True) as connection:
            rows = await connection.fetch(
                _LIST, tenant, which.since, which.until, which.action, which.subject, moment, own_id, limit + 1
            )
        items = tuple(line_of(row) for row in rows[:limit])
        return Page(items, encode_moment(items[-1].at, items[-1].id) if len(rows) > limit else None)

    @for_all_tenants
    async def _exported(
        self, tenant: str | None, which: AuditFilter, after: AuditLine | None
    ) -> Sequence[tuple[AuditLine, int | None, str | None]]:
        bound = (after.at, after.id) if after else (None, None)
        async with self._database.transaction(readonly=True) as connection:
            rows = await connection.fetch(_EXPORT, tenant, which.since, which.until, *bound, PAGE)
        return [(line_of(row), row["sequence"], row["hash"]) for row in rows]


def _noted(refusal: Refusal) -> Mapping[str, object]:
    return {
        "tenant": refusal.tenant,
        "subject": storable(refusal.subject),
        "key": storable(refusal.key)[:40] if refusal.key else None,
        "client": storable(refusal.client)[:60] if refusal.client else None,
        "action": refusal.action,
        "object": storable(refusal.about),
        "outcome": refusal.outcome,
        "request_id": refusal.request_id[:128] if refusal.request_id else None,
        "trace_id": refusal.trace_id,
        "after": dict(refusal.told),
    }
