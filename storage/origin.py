"""Where a request comes from, and who asked for it, as the audit record tells it.

`storage.caller` is whose rows a task sees, which may be those of all tenants; this is who is behind it.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opentelemetry import trace

from config.telemetry import spans
from storage.caller import LOCAL

if TYPE_CHECKING:
    from storage.caller import Caller


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a request; empty texts where something is not.

    Attributes:
        asker: who asked; None: the caller.
        client: the address that it came from, ``command line (ada)``, or ``worker``.

    """

    asker: Caller | None = None
    key_id: str = ""
    client: str = ""
    request_id: str = ""


_NOWHERE = Origin()
_current: ContextVar[Origin] = ContextVar("footnote_origin", default=_NOWHERE)


def origin() -> Origin:
    """Return where the current request comes from."""
    return _current.get()


@contextmanager
def coming_from(client: str, *, request_id: str | None = None) -> Iterator[None]:
    """Let the block be a request from somewhere; of nobody, until `asked_by` says of whom."""
    with _being(Origin(client=client, request_id=request_id or "")):
        yield


@contextmanager
def asked_by(asker: Caller, *, key_id: str | None = None) -> Iterator[None]:
    """Let the block be a request of somebody, from where it came."""
    with _being(replace(_current.get(), asker=asker, key_id=key_id or "")):
        yield


@contextmanager
def at_command_line() -> Iterator[None]:
    """Let the block be a command of whoever runs this process."""
    with coming_from(f"command line ({_user()})"), asked_by(LOCAL):
        yield


def actor_of(who: Caller | None) -> Mapping[str, str] | None:
    """Return who asks, from where, in which request and trace, where `who` is the caller; None: nobody does."""
    origin = _current.get()
    asker = origin.asker or who
    if asker is None:
        return None
    return {
        "tenant": asker.tenant,
        "subject": asker.subject,
        **_told(key=origin.key_id, client=origin.client, request=origin.request_id, trace=_trace_id()),
    }


@contextmanager
def _being(origin: Origin) -> Iterator[None]:
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)


def _told(**members: str) -> dict[str, str]:
    return {name: value for name, value in members.items() if value}


def _trace_id() -> str:
    return spans.trace_id_of(trace.get_current_span()) or ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "?"
