"""Turns at work that keeps a core busy: a few at a time, in order, and none that would be waited for too long.

Tenants take turns: each one's work is in order, and one's burst does not keep another's single request waiting.

More at a time would finish none of them sooner, and all of them later. How long a wait will be is told from the pace at
which turns ended lately (the mean of a queue's wait is its length times its service time; J. Little, "A proof for the
queuing formula L = λW", 1961), so that whoever comes too late learns it at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from server.errors import Overloaded
from server.waiting.fair import FairPlaces
from storage.caller import caller

SMOOTHING = 0.1
"""Weight of the latest interval between two ends in the pace, once there have been as many as make it small."""

BELIEVED = 5
"""Intervals from which on a pace is believed: the first searches of a server are its slowest."""


class Turns:
    """Turns, `at_once` of which are taken at a time; use it from one event loop.

    Args:
        at_once: turns taken at a time.
        max_wait: seconds that a turn may be expected to be waited for.
        clock: seconds.

    """

    def __init__(self, *, at_once: int, max_wait: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = FairPlaces(at_once)
        self._max_wait = max_wait
        self._clock = clock
        self._waiting = 0
        self._pace = 0.0  # seconds from one turn's end to the next, while others wait
        self._intervals = 0
        self._ended = 0.0

    @property
    def expected_wait(self) -> float:
        """Seconds that the caller would wait if it came now; 0 while too little is known."""
        if not self._waiting or self._intervals < BELIEVED:
            return 0.0
        ahead = self._places.ahead(current_tenant())
        return ahead * self._pace + max(0.0, self._clock() - self._ended - self._pace)

    @asynccontextmanager
    async def turn(self, *, may_refuse: bool = True) -> AsyncIterator[None]:
        """Wait for a turn, and take it while the block runs.

        Raises:
            Overloaded: the wait would be too long.

        """
        expected = self.expected_wait
        if may_refuse and expected > self._max_wait:
            raise Overloaded(retry_after=math.ceil(expected - self._max_wait) or 1)
        begins_queue, tenant = not self._waiting, current_tenant()
        self._waiting += 1
        try:
            if begins_queue and self._places.is_full:
                self._ended = self._clock()
            await self._places.acquire(tenant)
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._end(tenant)

    def _end(self, tenant: str) -> None:
        now = self._clock()
        if self._waiting:
            self._intervals += 1
            self._pace += max(SMOOTHING, 1 / self._intervals) * (now - self._ended - self._pace)
        self._ended = now
        self._places.release(tenant)


def current_tenant() -> str:
    """Return the tenant that the current task works for; all that is nobody's is as one."""
    who = caller()
    return who.tenant if who else ""
