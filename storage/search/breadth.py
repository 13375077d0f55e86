"""Filters that are known to leave many chunks: these need not be counted at each search.

To find out that a filter leaves more chunks than are worth comparing one by one, so many rows are read, which takes as
long as the search itself. What is remembered is a hint only: a search that trusts it wrongly finds the same, slower.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from storage import chunk_tables

if TYPE_CHECKING:
    from storage.database import Connection, Database
    from storage.generation import Generation

MOST = 1000  # filters of a database; those used last stay
SECONDS = 300.0
_CHUNKS = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1)"
Key = tuple[int, str | None, tuple[str, ...] | None, tuple[str, ...] | None, tuple[str, ...] | None]


class BroadFilters:
    """The filters of one database; not thread-safe, as the database is not."""

    def __init__(self) -> None:
        self._since: OrderedDict[Key, float] = OrderedDict()
        self._chunks: dict[int, tuple[int, float]] = {}

    async def chunks(self, connection: Connection, generation: Generation) -> int:
        """Return about how many chunks a generation has, as PostgreSQL's statistics said not long ago; 0: unknown."""
        told, since = self._chunks.get(generation.id, (0, float("-inf")))
        if time.monotonic() - since >= SECONDS:
            told = await connection.fetchval(_CHUNKS, chunk_tables.qualified(generation.id)) or 0
            self._chunks[generation.id] = (told, time.monotonic())
        return told

    def add(self, key: Key) -> None:
        """Remember a filter."""
        self._since[key] = time.monotonic()
        self._since.move_to_end(key)
        while len(self._since) > MOST:
            self._since.popitem(last=False)

    def __contains__(self, key: Key) -> bool:
        """Tell whether a filter was found to leave many chunks not long ago."""
        since = self._since.get(key)
        if since is None:
            return False
        self._since.move_to_end(key)
        return time.monotonic() - since < SECONDS


def broad_filters(database: Database) -> BroadFilters:
    """Return those of a database, for as long as it is open."""
    return _OF_DATABASES.setdefault(database, BroadFilters())


_OF_DATABASES: WeakKeyDictionary[Database, BroadFilters] = WeakKeyDictionary()
