"""A queue between two stages, bounded by the weight of its items."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class WeightedQueue(Generic[Item]):
    """A first-in, first-out queue; its items weigh at most `bound` together, or it holds one heavier item.

    For one event loop, any number of writers and readers. After `close`, readers get the rest, then nothing.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._items: deque[tuple[Item, int]] = deque()
        self._weight = 0
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, item: Item, *, weight: int) -> None:
        """Add an item; wait while there is no room."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._items or self._weight + weight <= self._bound)
            self._items.append((item, weight))
            self._weight += weight
            self._changed.notify_all()

    async def take(self, most: int = 1) -> list[Item]:
        """Wait for an item; return those available up to a weight of `most`; empty once closed and drained."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._items or self._closed)
            taken: list[Item] = []
            weight = 0
            while self._items and (not taken or weight + self._items[0][1] <= most):
                item, one = self._items.popleft()
                taken.append(item)
                weight += one
            self._weight -= weight
            self._changed.notify_all()
            return taken

    async def close(self) -> None:
        """Declare that no more items will be added."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
