"""The API key that the current task was admitted with, and the limits that are its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UsedKey:
    """An API key.

    Attributes:
        id: what it shows of itself, no secret.
        limits: the limits that it has in place of the settings': `key_…` of `LimitSettings`, null for none.

    """

    id: str
    limits: Mapping[str, object] = field(default_factory=dict)


_current: ContextVar[UsedKey | None] = ContextVar("footnote_used_key", default=None)


def used_key() -> UsedKey | None:
    """Return the key of this task; None: it came without one."""
    return _current.get()


@contextmanager
def using_key(key: UsedKey | None) -> Iterator[None]:
    """Let the block, and the tasks that it starts, count as requests of a key."""
    token = _current.set(key)
    try:
        yield
    finally:
        _current.reset(token)
