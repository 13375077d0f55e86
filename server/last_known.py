"""What rows say, remembered for a moment: nobody waits long for the database where an older answer is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import TTLCache

from config.errors import FootnoteError
from storage.errors import StoreUnavailable

PATIENCE = 0.5
"""Seconds for which a look into the database is waited for where it was answered before; `LONGEST` where not."""
LONGEST = 2.0

Value = TypeVar("Value")


@dataclass(slots=True)
class _Entry(Generic[Value]):
    until: float
    value: Value


class LastKnown(Generic[Value]):
    """Reads values by name, each once at a time; with the database silent or away, returns what it read last."""

    def __init__(
        self, read: Callable[[str], Awaitable[Value]], *, fresh: float, kept: float, most: int = 10_000
    ) -> None:
        """Take a function that reads.

        Args:
            read: from a name to its value.
            fresh: seconds for which a value is believed, and after a look in vain believed again.
            kept: seconds for which it is there for want of a newer one.
            most: values that are remembered.

        """
        self._read = read
        self._fresh = fresh
        self._known: TTLCache[str, _Entry[Value]] = TTLCache(most, max(kept, fresh))
        self._reading: dict[str, asyncio.Task[Value]] = {}

    async def of(self, name: str) -> Value:
        """Return the value of a name.

        Raises:
            FootnoteError: it was not read within the time for which it is kept, and cannot be read now.

        """
        known = self._known.get(name)
        if known is not None and time.monotonic() < known.until:
            return known.value
        task = self._look(name)
        await asyncio.wait({task}, timeout=LONGEST if known is None else PATIENCE)
        if task.done() and not task.cancelled() and not isinstance(task.exception(), FootnoteError):
            return task.result()
        if known is not None:
            known.until = time.monotonic() + self._fresh
            return known.value
        if task.done() and not task.cancelled():
            return task.result()  # which raises
        msg = "the database did not answer in time"
        raise StoreUnavailable(msg)

    def _look(self, name: str) -> asyncio.Task[Value]:
        """Return the one task that reads a value now; it is of no request, and nobody who leaves ends it."""
        if (task := self._reading.get(name)) is None:
            task = asyncio.create_task(self._remembered(name), context=Context())
            task.add_done_callback(retrieved)
            self._reading[name] = task
        return task

    async def _remembered(self, name: str) -> Value:
        at = time.monotonic()
        try:
            value = await self._read(name)
            self._known[name] = _Entry(at + self._fresh, value)
            return value
        finally:
            del self._reading[name]


def retrieved(task: asyncio.Task[Any]) -> None:
    """Mark a task's exception as retrieved: whoever asked may have left."""
    if not task.cancelled():
        task.exception()
