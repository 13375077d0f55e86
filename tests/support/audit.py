"""Lines of the audit record that are older than the test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from support.sql import execute

from storage.access.tenants import Tenants
from storage.audit.sealing import seal
from storage.database import Database

OLD = datetime(2025, 3, 20, tzinfo=UTC)
_MOVED = """
    WITH old AS (DELETE FROM footnote.audit WHERE object = ANY(%s) RETURNING *),
        queue AS (DELETE FROM footnote.audit_pending p USING old o WHERE p.id = o.id)
    INSERT INTO footnote.audit SELECT o.id, %s::timestamptz + (o.at - now()), o.tenant_id, o.subject, o.actor_tenant,
        o.key_id, o.client, o.action, o.object, o.outcome, o.request_id, o.trace_id, o.before, o.after FROM old o"""


async def aged(database: Database, dsn: str, names: Sequence[str], at: datetime) -> None:
    """Make tenants whose lines are of another time."""
    for name in names:
        await Tenants(database).create(name)
    execute(dsn, _MOVED, [f"tenant:{name}" for name in names], at)
    await seal(database)
