"""Which collections the current task may reach: all of them, or those that its API key is restricted to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from storage.errors import CollectionNotFound

_reach: ContextVar[frozenset[str] | None] = ContextVar("footnote_reach", default=None)


def reachable_collections() -> list[str] | None:
    """Return the names of the collections that exist for this task, or None: all of them."""
    reach = _reach.get()
    return None if reach is None else sorted(reach)


def is_reachable(name: str) -> bool:
    """Tell whether a collection may exist for this task."""
    reach = _reach.get()
    return reach is None or name in reach


def require_reachable(name: str) -> None:
    """Raise `CollectionNotFound` for a collection that the task may not reach."""
    if not is_reachable(name):
        raise CollectionNotFound(name)


@contextmanager
def reaching(collections: frozenset[str] | None) -> Iterator[None]:
    """Let the block, and the tasks that it starts, reach these collections alone; None: all."""
    token = _reach.set(collections)
    try:
        yield
    finally:
        _reach.reset(token)
