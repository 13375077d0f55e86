"""Who asks: the identity on whose behalf the current task reads and writes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from storage.generation import DEFAULT_TENANT

EVERYBODY = "*"
"""The reader that stands for everybody in a tenant."""

WHOLE_TENANT = "+"
"""What every document has among those who may see it, and only a caller who `sees_all` brings along."""

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


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

    def __post_init__(self) -> None:
        """Refuse names that the database cannot hold: to leave a character out would make them another's."""
        for name in (self.tenant, self.subject, *self.groups):
            if "\0" in name or (not name.isascii() and any("\ud800" <= each <= "\udfff" for each in name)):
                msg = "a tenant, subject or group has a NUL character or half a surrogate pair in it"
                raise ValueError(msg)

    @property
    def readers(self) -> tuple[str, ...]:
        """The entries of a document's `readers` that let this caller read it."""
        return (EVERYBODY, f"user:{self.subject}", *(f"group:{group}" for group in self.groups))

    @property
    def access(self) -> tuple[str, ...]:
        """What the database compares with ``documents.access``."""
        return (WHOLE_TENANT,) if self.sees_all else self.readers


LOCAL = Caller(DEFAULT_TENANT, "local", sees_all=True)
"""Everybody where authentication is off, and the command line."""

SYSTEM = Caller("", "system", sees_all=True)
"""The work that is done for all tenants at once: the queue, leases, what is dropped and forgotten. Storage's alone."""

_current: ContextVar[Caller | None] = ContextVar("footnote_caller", default=None)


def caller() -> Caller | None:
    """Return who asks in this task, or None: then no row exists."""
    return _current.get()


def current_tenant() -> str:
    """Return the caller's tenant; without a caller a name that no tenant has."""
    identity = _current.get()
    return "" if identity is None else identity.tenant


def service_of(tenant: str, subject: str = LOCAL.subject) -> Caller:
    """Return the caller that this process's own work for a tenant is done as."""
    return Caller(tenant, subject, sees_all=True)


@contextmanager
def acting_as(identity: Caller) -> Iterator[None]:
    """Let the block, and the tasks that it starts, act for `identity`."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)


def for_all_tenants(
    work: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Result]]:
    """Let a function of storage see the rows of all tenants."""

    @functools.wraps(work)
    async def as_system(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with acting_as(SYSTEM):
            return await work(*args, **kwargs)

    return as_system


def in_whole_tenant(
    work: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Result]]:
    """Let a function see all rows of the caller's tenant, whose documents and jobs keep each other's order."""

    @functools.wraps(work)
    async def as_service(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        identity = _current.get()
        if identity is None or identity.sees_all:
            return await work(*args, **kwargs)
        with acting_as(service_of(identity.tenant, identity.subject)):
            return await work(*args, **kwargs)

    return as_service
