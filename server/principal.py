"""Who a request is from, and what that one may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from server.errors import Forbidden
from storage.access.limited import UsedKey, using_key
from storage.caller import LOCAL, Caller, acting_as, caller
from storage.reach import reachable_collections, reaching

ADMIN, TENANTS, METRICS = "admin", "tenants", "metrics"
SCOPES = {
    "query": "ask, retrieve, chat, and the same through /v1 and MCP",
    "documents:read": "list documents, and read their texts and pages",
    "documents:download": "download documents as they were brought",
    "documents:write": "bring, replace and delete documents",
    "collections:write": "create and delete collections, and activate generations",
    "feedback": "rate answers, and read ratings",
    "evaluate": "run evaluations",
    METRICS: "read the server's metrics",
    "audit": "read the record of what was done",
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

    """

    caller: Caller
    scopes: frozenset[str]
    collections: frozenset[str] | None = None
    key_id: str | None = None
    expires_at: datetime | None = None

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
        key = UsedKey(identity.key_id) if identity.key_id else None
        with acting_as(identity.caller), reaching(identity.collections), using_key(key):
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


def view_of_caller() -> list[object]:
    """Return what the current caller may see, in a form that JSON can encode: equal for callers who see the same."""
    who = caller() or LOCAL
    seen = None if who.sees_all else sorted(who.readers)
    return [who.tenant, seen, reachable_collections()]


def owner_of_caller() -> str:
    """Return whom what the current caller makes belongs to: tenant and subject."""
    who = caller() or LOCAL
    return f"{who.tenant}\0{who.subject}"
