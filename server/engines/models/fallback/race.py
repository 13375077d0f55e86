"""Several streams for one answer: the next begins when one fails or is silent, and the first that writes is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

Event = TypeVar("Event")
Start = Callable[[], AsyncGenerator[Event, None]]


class Race(Generic[Event]):
    """The streams that have begun and not written yet.

    Args:
        starts: what begins each stream, in order.
        hedge_after: seconds of silence after which the next begins beside those that run; None: only after a failure.
        may_go_on: told the number of a stream that failed and why; returns whether another is to be begun.

    """

    def __init__(
        self,
        starts: Iterator[tuple[int, Start[Event]]],
        *,
        hedge_after: float | None,
        may_go_on: Callable[[int, Exception], bool],
    ) -> None:
        self._starts = starts
        self._hedge_after = hedge_after
        self._may_go_on = may_go_on
        self._running: dict[asyncio.Task[Event], tuple[int, AsyncGenerator[Event, None]]] = {}

    @asynccontextmanager
    async def won(self) -> AsyncGenerator[tuple[int, Event, AsyncGenerator[Event, None]], None]:
        """Give the number of the stream that wrote first, its first event, and the rest of it; close all at the end.

        Raises:
            Exception: the first failure after which none was to be begun, or the last.

        """
        winner: AsyncGenerator[Event, None] | None = None
        try:
            self._begin()
            number, first, winner = await self._first()
            await self._stop()
            yield number, first, winner
        finally:
            await self._stop()
            if winner is not None:
                await winner.aclose()

    async def _first(self) -> tuple[int, Event, AsyncGenerator[Event, None]]:
        error: Exception | None = None
        while self._running:
            done, _ = await asyncio.wait(self._running, timeout=self._hedge_after, return_when=asyncio.FIRST_COMPLETED)
            if not done and not self._begin():  # there is none left to begin
                self._hedge_after = None
            for task in sorted(done, key=lambda each: self._running[each][0]):
                number, stream = self._running.pop(task)
                try:
                    return number, task.result(), stream
                except Exception as exc:
                    await stream.aclose()
                    error = exc
                    if not self._may_go_on(number, exc):
                        raise
                    self._begin()
        assert error is not None  # noqa: S101 (one began, and failed)
        raise error

    def _begin(self) -> bool:
        number, start = next(self._starts, (0, None))
        if start is None:
            return False
        stream = start()
        self._running[asyncio.ensure_future(anext(stream))] = number, stream
        return True

    async def _stop(self) -> None:
        """Cancel the streams that lost."""
        losers, self._running = self._running, {}
        for task in losers:
            task.cancel()
        await asyncio.gather(*losers, return_exceptions=True)
        for _, stream in losers.values():
            await stream.aclose()
