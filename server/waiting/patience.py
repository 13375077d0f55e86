"""A time limit for many consecutive short waits."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """Ends a wait with `TimeoutError`, like `asyncio.timeout_at`, at a fraction of its cost.

        patience = Patience()
        async for piece in pieces:
            with patience.until(loop.time() + 30):
                await send(piece)
        patience.close()

    A stream waits twice for each of its tokens. `asyncio.timeout` would create and cancel a timer each time; here one
    timer is kept, and moved only when it fires. One wait at a time, in any task.
    """

    __slots__ = ("_cancelling", "_due", "_expired", "_rings", "_task", "_timer")

    def __init__(self) -> None:
        self._due: float | None = None  # deadline of the current wait
        self._rings = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    def until(self, when: float) -> Self:
        """Return the limit of the next wait; `when` is a time of the event loop's clock."""
        self._due = when
        return self

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        assert task is not None and self._due is not None  # noqa: S101, PT018 (`until`, within a task)
        self._cancelling = task.cancelling()
        if self._timer is None or self._due < self._rings:
            self._set(self._due)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._due, task, self._task = None, self._task, None
        if self._expired:
            self._expired = False
            # like asyncio.Timeout: if the task was cancelled by others too, that takes precedence
            if task is not None and task.uncancel() <= self._cancelling and exc_type is asyncio.CancelledError:
                raise TimeoutError from exc

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, when: float) -> None:
        self.close()
        self._rings = when
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._due is None or self._task is None:  # there is no wait; the next one sets a new timer
            return
        if self._due > self._rings:
            self._set(self._due)
            return
        self._expired = True
        self._task.cancel()
