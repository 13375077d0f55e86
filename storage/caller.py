"""Who asks: the identity on whose behalf the current task reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from storage.generation import DEFAULT_TENANT

EVERYBODY = "*"
"""The reader that stands for everybody in a tenant."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity inside one tenant.

    Attributes:
        tenant: id of the tenant whose rows exist for this caller.
        subject: the person or application, unique within the tenant.
        groups: names of the groups that the subject belongs to.
        sees_all: sees every document and conversation of the tenant, whoever its readers are:
            administrators, this process's own work, and everybody where authentication is off.

    """

    tenant: str
    subject: str
    groups: tuple[str, ...] = ()
    sees_all: bool = False

    @property
    def readers(self) -> tuple[str, ...]:
        """The entries of a document's `readers` that let this caller read it."""
        return (EVERYBODY, f"user:{self.subject}", *(f"group:{group}" for group in self.groups))


LOCAL = Caller(DEFAULT_TENANT, "local", sees_all=True)
"""Everybody where authentication is off, and the command line."""

_current: ContextVar[Caller | None] = ContextVar("footnote_caller", default=None)


def caller() -> Caller | None:
    """Return who asks in this task, or None: then no row exists."""
    return _current.get()


@contextmanager
def acting_as(identity: Caller) -> Iterator[None]:
    """Let the block, and the tasks that it starts, act for `identity`."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)
