"""Who a request is from, and what that one may do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from server.errors import Forbidden
from storage.access.limited import UsedKey, using_key
from storage.caller import LOCAL, Caller, acting_as, caller, service_of
from storage.origin import asked_by
from storage.reach import reachable_collections, reaching

ADMIN, AUDIT, TENANTS, METRICS = "admin", "audit", "tenants", "metrics"
SCOPES = {
    "query": "ask, retrieve, chat, and the same through /v1 and MCP",
    "documents:read": "list documents, and read their texts and pages",
    "documents:download": "download documents as they were brought",
    "documents:write": "bring, replace and delete documents",
    "collections:write": "create and delete collections, and activate generations",
    "feedback": "rate answers, and read ratings",
    "evaluate": "keep golden questions, and run evaluations",
    METRICS: "read the server's metrics",
    AUDIT: "read the record of what was done, and of who was shown what",
    "keys": "make, list, rotate and revoke API keys",
    TENANTS: "everything about tenants, and keys of any tenant",
    ADMIN: "everything of its own tenant",
}
"""Every scope, and what it lets one do."""

OF_THE_SERVER = frozenset({TENANTS, METRICS})
"""Scopes that reach beyond a tenant: its administrators do not have them."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is from.

    Attributes:
        caller: the identity that it reads and writes as.
        scopes: what it may do, as its key or token says.
        collections: names of the collections that exist for it; None: all of its tenant.
        key_id: of its API key; None: it has none.
        expires_at: when its API key expires.
        limits: its API key's own.
        tenant_since: when its tenant was made: another one may have had the name before. None: nobody said so.

    """

    caller: Caller
    scopes: frozenset[str]
    collections: frozenset[str] | None = None
    key_id: str | None = None
    expires_at: datetime | None = None
    limits: Mapping[str, object] = field(default_factory=dict, hash=False)
    tenant_since: datetime | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything in its tenant."""
        return ADMIN in self.scopes

    def may(self, scope: str) -> bool:
        """Tell whether it has a scope, by itself or as an administrator."""
        return scope in self.scopes or (self.is_admin and scope not in OF_THE_SERVER)


EVERYBODY = Principal(LOCAL, frozenset(SCOPES))
"""Whoever asks where authentication is off, and the program on this machine that speaks MCP over stdio."""

NOBODY = Caller("", "")
"""Whoever is unknown: no tenant has its name, so no row exists for it."""

_current: ContextVar[Principal | None] = ContextVar("footnote_principal", default=None)


def principal() -> Principal | None:
    """Return who the current request is from; None: nobody said so."""
    return _current.get()


@contextmanager
def being(identity: Principal) -> Iterator[None]:
    """Let the block, and the tasks that it starts, be a request of `identity`."""
    token = _current.set(identity)
    try:
        key = UsedKey(identity.key_id, identity.limits) if identity.key_id else None
        with (
            acting_as(identity.caller),
            asked_by(identity.caller, key_id=identity.key_id),
            reaching(identity.collections),
            using_key(key),
        ):
            yield
    finally:
        _current.reset(token)


@contextmanager
def being_nobody() -> Iterator[None]:
    """Let the block be a request of nobody known, whatever it was before."""
    token = _current.set(None)
    try:
        with acting_as(NOBODY), reaching(frozenset()), using_key(None):
            yield
    finally:
        _current.reset(token)


def require_scope(scope: str) -> None:
    """Raise `Forbidden` unless the current request has a scope; for what is behind a route that needs less."""
    who = _current.get()
    if who is None or not who.may(scope):
        raise Forbidden(scope)


@contextmanager
def seeing_the_record() -> Iterator[None]:
    """Let the block see all of what is recorded of the tenant, if the current request may: with `audit`."""
    who = _current.get()
    if who is None or not who.may(AUDIT):
        yield
        return
    with acting_as(service_of(who.caller.tenant, who.caller.subject)):
        yield


def view_of_caller() -> list[object]:
    """Return what the current caller may see, in a form that JSON can encode: equal for callers who see the same."""
    who = caller() or LOCAL
    seen = None if who.sees_all else sorted(who.readers)
    return [who.tenant, seen, reachable_collections()]


def owner_of_caller() -> str:
    """Return whom what the current caller makes belongs to: tenant and subject."""
    who = caller() or LOCAL
    return f"{who.tenant}\0{who.subject}"


def standing_of_caller() -> str:
    """Return who the current caller is and what it may see; another for a tenant that had the same name before."""
    who = _current.get()
    since = None if who is None or who.tenant_since is None else who.tenant_since.isoformat()
    return json.dumps([owner_of_caller(), since, view_of_caller()])
