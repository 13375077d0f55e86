"""A line of the audit record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    import asyncpg

Outcome = Literal["success", "failure", "denied"]

MOST_DIGITS = 400
COLUMNS = """l.id, l.at, l.tenant_id, l.subject, l.actor_tenant, l.key_id, l.client, l.action, l.object, l.outcome,
    l.request_id, l.trace_id, l.before::text AS before, l.after::text AS after"""
"""SQL of what `line_of` reads, of ``footnote.audit l``."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """What was done, or refused.

    Attributes:
        tenant: whose record it is in; empty for what concerns no tenant.
        actor_tenant: the tenant of `subject`, who did it.
        key: id of the API key that it was done with.
        client: the address that it came from, ``command line (ada)`` or ``worker``.
        action: ``key.create``.
        object: ``key:abcdefghijkl``, what it was done to.
        before: the state before, as JSON; None: there was nothing, or nothing is told of it.
        after: the state after, as JSON.

    """

    id: UUID
    at: datetime
    tenant: str
    subject: str
    actor_tenant: str
    key: str | None
    client: str | None
    action: str
    object: str
    outcome: Outcome
    request_id: str | None
    trace_id: str | None
    before_json: str | None
    after_json: str | None

    @property
    def before(self) -> Mapping[str, Any] | None:
        """The state before; None: there was nothing, or nothing is told of it."""
        return _parsed(self.before_json)

    @property
    def after(self) -> Mapping[str, Any] | None:
        """The state after."""
        return _parsed(self.after_json)

    def members(self) -> dict[str, Any]:
        """Return what is shown of it, as JSON has it."""
        return {**self.facts(), "before": self.before, "after": self.after}

    def facts(self) -> dict[str, str | None]:
        """Return its members but for the states."""
        return {
            "id": str(self.id),
            "at": moment(self.at),
            "tenant": self.tenant,
            "subject": self.subject,
            "actor_tenant": self.actor_tenant,
            "key": self.key,
            "client": self.client,
            "action": self.action,
            "object": self.object,
            "outcome": self.outcome,
            "request_id": self.request_id,
            "trace_id": self.trace_id,
        }


def line_of(row: asyncpg.Record) -> AuditLine:
    """Return the line that `COLUMNS` read."""
    return AuditLine(
        id=row["id"],
        at=row["at"],
        tenant=row["tenant_id"],
        subject=row["subject"],
        actor_tenant=row["actor_tenant"],
        key=row["key_id"],
        client=row["client"],
        action=row["action"],
        object=row["object"],
        outcome=row["outcome"],
        request_id=row["request_id"],
        trace_id=row["trace_id"],
        before_json=row["before"],
        after_json=row["after"],
    )


def _parsed(state: str | None) -> Mapping[str, Any] | None:
    return json.loads(state, parse_int=_number) if state else None


def _number(digits: str) -> int | str:
    """Return a number, which whoever writes by hand may make longer than Python reads."""
    return int(digits) if len(digits) <= MOST_DIGITS else digits


def moment(at: datetime) -> str:
    """Return a time in UTC, to the microsecond, always of the same length."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
