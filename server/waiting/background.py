"""Work that a request leaves behind: it goes on after the request was answered, or cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from config.errors import FootnoteError

Result = TypeVar("Result")
_log = structlog.get_logger(__name__)


class Background:
    """Tasks that nobody waits for; failures are logged.

    Args:
        failure: log line of a failure.

    """

    def __init__(self, failure: str) -> None:
        self._failure = failure
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the background."""
        task = asyncio.create_task(self._logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def undone_if_cancelled(
        self, work: Awaitable[Result], *, undo: Callable[[Result], Coroutine[Any, Any, None]]
    ) -> Result:
        """Return the result of work that commits something.

        If the caller is cancelled meanwhile, the work ends in the background, and `undo` is called with its result.
        """
        doing = asyncio.ensure_future(work)

        async def undone() -> None:
            await undo(await doing)

        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            self.start(undone())
            raise

    async def close(self, *, seconds: float) -> None:
        """Wait for what is running; cancel what takes longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (FootnoteError, TimeoutError) as exc:
            _log.warning(self._failure, error=type(exc).__name__)
