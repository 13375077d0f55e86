"""Bounded threads for other people's code that cannot be cancelled; those that do not come back are counted as lost.

Python cannot stop a thread. A call that nobody waits for any more keeps its place until it returns, if it ever does,
and once no place is left, further calls fail at once instead of waiting for nothing. The threads are daemons, so that
none keeps the process from ending, and none is of asyncio's own pool, which everything else shares.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Generic, TypeVar

import structlog

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 32
"""Items that a thread makes before the first of them is read."""
PAUSE = 0.5
"""Seconds after which a call that waits for a place looks whether all were lost."""

_log = structlog.get_logger(__name__)


class ThreadsLost(Exception):
    """No call can be made; the text says why."""


class ThreadEnded(Exception):
    """The code raised what ends programs, tasks or generators (the text names it), not an `Exception`."""


class Threads:
    """At most `most` threads at a time for the code called `name`. Use them from one event loop."""

    def __init__(self, name: str, *, most: int, grace: float = 0.0) -> None:
        """Take none yet; `grace`: seconds that code has to notice that nobody waits, before its thread is lost."""
        self._name = name
        self._most = most
        self._grace = grace
        self._places = asyncio.Semaphore(most)
        self._left: dict[object, float] = {}  # jobs that nobody waits for, since when

    @property
    def lost(self) -> int:
        """How many threads are in calls that nobody waits for and that have not come back."""
        return sum(time.monotonic() - since >= self._grace for since in self._left.values())

    @property
    def trouble(self) -> str | None:
        """Say why no call can be made at the moment; None if one can."""
        if self.lost < self._most:
            return None
        return f"all {self._most} threads of {self._name} are in calls that do not return; restart the server"

    async def run(self, call: Callable[..., Result], /, *arguments: object) -> Result:
        """Call a function in a thread, with the context of the caller: who asks, and the current span.

        To be cancelled leaves the thread to itself.

        Raises:
            ThreadsLost: every thread is lost, or none can be started.
            ThreadEnded: the call raised `SystemExit` or the like.
            Exception: whatever else it raised.

        """
        async with aclosing(self.items(lambda: (call(*arguments),))) as items:
            (result,) = [item async for item in items]
        return result

    async def items(self, work: Callable[[], Iterable[Item]]) -> AsyncGenerator[Item, None]:
        """Yield what `work` gives, iterated in a thread; close this to leave the thread to itself. Raises as `run`."""
        await self._place()
        job = _Job(work, ended=self._ended)
        try:
            job.start(self._name)
        except RuntimeError as exc:  # the system has no more threads
            self._places.release()
            msg = f"no thread can be started for {self._name}"
            raise ThreadsLost(msg) from exc
        try:
            while (made := await job.made.get()) is not None:
                if isinstance(made, _Raised):
                    raise made.error
                job.ahead.release()
                yield made.item
        finally:
            if job.is_running:
                self._leave(job)

    async def _place(self) -> None:
        while True:
            if reason := self.trouble:
                raise ThreadsLost(reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._places.acquire()
                return

    def _leave(self, job: _Job[Item]) -> None:
        job.leave()
        self._left[job] = time.monotonic()
        asyncio.get_running_loop().call_later(self._grace, self._tell_of, job)

    def _ended(self, job: object) -> None:
        self._places.release()
        self._left.pop(job, None)

    def _tell_of(self, job: object) -> None:
        if job in self._left:
            _log.warning("a thread of a plug-in does not return", plug_in=self._name, lost=self.lost, of=self._most)


class _Made(Generic[Item]):
    def __init__(self, item: Item) -> None:
        self.item = item


class _Raised:
    def __init__(self, error: BaseException) -> None:
        if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
            self.error = error
        else:
            self.error = ThreadEnded(type(error).__name__)
            self.error.__cause__ = error


class _Job(Generic[Item]):
    """Work in a thread; what it makes goes through the event loop, None ends it."""

    def __init__(self, work: Callable[[], Iterable[Item]], *, ended: Callable[[object], None]) -> None:
        self.made: asyncio.Queue[_Made[Item] | _Raised | None] = asyncio.Queue()
        self.ahead = threading.Semaphore(AHEAD)
        self.is_running = True
        self._work = work
        self._ended = ended
        self._is_left = False
        self._loop = asyncio.get_running_loop()

    def start(self, name: str) -> None:
        """Start the thread, in a copy of the current context."""
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._run,), name=f"plug-in {name}", daemon=True).start()

    def leave(self) -> None:
        """Let the thread end at its next item."""
        self._is_left = True
        self.ahead.release()

    def _run(self) -> None:
        end: _Raised | None = None
        try:
            self._iterate()
        except BaseException as exc:  # noqa: BLE001 (of somebody else's code; it is raised where the work is awaited)
            end = _Raised(exc)
        with suppress(RuntimeError):  # the event loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._end, end)

    def _iterate(self) -> None:
        given = self._work()
        try:
            for item in given:
                self.ahead.acquire()
                if self._is_left:
                    return
                self._loop.call_soon_threadsafe(self.made.put_nowait, _Made(item))
        finally:
            if callable(close := getattr(given, "close", None)):
                close()

    def _end(self, end: _Raised | None) -> None:
        self.is_running = False
        self.made.put_nowait(end)
        self._ended(self)
