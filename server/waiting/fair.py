"""Places that tenants share: whoever waits for one waits behind its own tenant's others, and tenants take turns."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque


class FairPlaces:
    """A semaphore of `most` places, whose queue lets one of each tenant through in turn; for one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()
        self._running = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Whether the next one will wait."""
        return self._running >= self._most or bool(self._queues)

    def ahead(self, tenant: str) -> int:
        """Return how many will get a place before one that comes now for a tenant."""
        own = len(self._queues.get(tenant, ()))
        return own + sum(min(len(queue), own + 1) for name, queue in self._queues.items() if name != tenant)

    def is_below_share(self, tenant: str) -> bool:
        """Tell whether a tenant has, or waits for, fewer places than its equal share of all."""
        tenants = self._taken.keys() | self._queues.keys() | {tenant}
        own = self._taken[tenant] + len(self._queues.get(tenant, ()))
        return own * len(tenants) < self._most

    async def acquire(self, tenant: str) -> None:
        """Take a place, in turn."""
        if not self.is_full:
            self._take(tenant)
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():  # it got its place at that moment
                self.release(tenant)
            else:
                self._leave(tenant, waiting)
            raise

    def release(self, tenant: str) -> None:
        """Give a place back: to the next tenant that waits."""
        self._running -= 1
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
        self._wake()

    def _take(self, tenant: str) -> None:
        self._running += 1
        self._taken[tenant] += 1

    def _wake(self) -> None:
        while self._queues and self._running < self._most:
            tenant, queue = next(iter(self._queues.items()))
            waiting = queue.popleft()
            if queue:
                self._queues.move_to_end(tenant)  # behind the others
            else:
                del self._queues[tenant]
            if not waiting.done():
                self._take(tenant)
                waiting.set_result(None)

    def _leave(self, tenant: str, waiting: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            if not queue:
                del self._queues[tenant]
