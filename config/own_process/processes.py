"""The server's end: processes that are started, asked, and killed when they do not come back.

Python cannot stop a thread, but the kernel can stop a process. A call that nobody waits for any more has `grace` to
notice; then its process is killed, whatever the code in it does. Another one, begun meanwhile, takes its place.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from types import SimpleNamespace
from typing import Any

import structlog

from config import die_with_parent
from config.own_process.frames import HEAD, Call, End, Item, Raised, Servant, Stop, decoded, encoded, length_of, read
from config.threads import ThreadEnded, ThreadsLost

START_SECONDS = 60.0
"""In which an object has to be made, imports included."""
GRACE = 5.0
"""Seconds that a call has to end by itself after nobody waits for it any more."""
LATE = 1.0
"""Seconds of them after which another process is begun, in case that it does not."""
PATIENCE = 0.9
"""Of the seconds that a call has in all: a process is free by then, or it is said that none was."""
START_AGAIN = 5.0
"""Seconds after a start that failed, before another is tried."""
_log = structlog.get_logger(__name__)


class ProcessDied(Exception):
    """The process ended within a call; the text says how."""


class ChildError(Exception):
    """What code in the process raised that cannot be had here; its class is called as the original."""


class Processes:
    """At most `most` processes, each with one object of its own, for the code called `name`.

    Use `run` and `items` from one event loop.
    """

    def __init__(self, name: str, servant: Servant, *, most: int, grace: float = GRACE) -> None:
        """Start none yet; `open` starts the first, and `begin` before it, where several are to start at once."""
        self._name = name
        self._servant = servant
        self._most = most
        self._grace = grace
        self._places = asyncio.Semaphore(most)
        self._idle: list[_Child] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._first: _Child | None = None
        self._start_seconds = START_SECONDS
        self._late = 0  # places of calls that nobody waits for, and that do not return
        self._all: set[_Child] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._failed: tuple[float, str] | None = None
        self._mending: asyncio.Task[None] | None = None
        self._is_closed = False

    def begin(self, *, together: int = 1) -> None:
        """Start the first one without waiting for its object, which `open` does; `together`: how many on each core."""
        self._start_seconds = START_SECONDS * together
        self._first = self._started()

    def open(self, *, seconds: float | None = None) -> Any:  # noqa: ANN401 (what the servant tells)
        """Start the first one, and wait until its object is made; return what it is `told` to be. Blocks.

        Raises:
            Exception: what the constructor raised.
            ProcessDied: the process ended; or the object was not made in `seconds`, by default `START_SECONDS` for each
                that was begun together on a core.

        """
        child = self._first or self._started()
        try:
            told = child.first(self._start_seconds if seconds is None else seconds)
        except BaseException:
            self._end(child)
            raise
        self._is_idle(child)
        return told

    @property
    def trouble(self) -> str | None:
        """Say why no call can be made at the moment; None if one can."""
        if self._failed is not None:
            return f"the process of {self._name} cannot be started: {self._failed[1]}"
        if self._late >= self._most:
            return f"the process of {self._name} is being replaced: a call did not return"
        return None

    async def run(
        self, method: str, /, *arguments: Any, wait: float | None = None, begun: Callable[[], None] | None = None
    ) -> Any:  # noqa: ANN401 (of the plug-in)
        """Call a method of the object; to be cancelled ends its process, unless it returns in time.

        `begun` is called when a process is free: until then, the call waits for others' calls, or for one to start,
        `wait` seconds at most.

        Raises:
            ThreadsLost: no process can be started, or was free in time.
            ThreadEnded: the call raised `SystemExit` or the like.
            ProcessDied: the process ended within the call.
            Exception: whatever else it raised.

        """
        async with aclosing(self._called(Call(method, arguments, streams=False), wait, begun)) as items:
            (result,) = [item async for item in items]
        return result

    def items(self, method: str, /, *arguments: Any, wait: float | None = None) -> AsyncGenerator[Any, None]:
        """Yield what a method gives; close this to have it end. Raises as `run`."""
        return self._called(Call(method, arguments, streams=True), wait)

    async def close(self) -> None:
        """Kill them."""
        self._is_closed = True
        self._changed()
        for task in (*self._retiring, *self._starting, self._mending):
            if task is not None:
                task.cancel()
        self.kill()

    def kill(self) -> None:
        """Kill them, where there is no event loop."""
        self._is_closed = True
        self._waiting.clear()  # their event loop may be closed
        for child in tuple(self._all):
            self._end(child)

    async def _called(
        self, call: Call, wait: float | None, begun: Callable[[], None] | None = None
    ) -> AsyncGenerator[Any, None]:
        data = encoded(call)
        child = await self._taken_within(wait)
        if begun is not None:
            begun()
        is_over = False
        try:
            child.send(data)
            while not isinstance(frame := await child.frame(), End):
                if isinstance(frame, Raised):
                    is_over = True
                    raise _error(frame)
                if frame is None:
                    is_over = True
                    raise ProcessDied(child.fate())
                yield frame.value
            is_over = True
        finally:
            if is_over:
                self._give_back(child)
            else:
                task = asyncio.ensure_future(self._retire(child))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)

    async def _taken_within(self, seconds: float | None) -> _Child:
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._taken()
        except TimeoutError:
            if not limit.expired():
                raise
            raise ThreadsLost(self.trouble or f"the processes of {self._name} are busy, or starting") from None

    async def _taken(self) -> _Child:
        """Return a process: whichever is first, one that starts or another call's."""
        await self._places.acquire()
        failed = self._failed
        try:
            while True:
                if (child := self._idle_one()) is not None:
                    await child.connect()
                    return child
                self._begin_another(failed)
                await self._change()
        except BaseException:
            self._places.release()
            raise

    def _begin_another(self, failed: tuple[float, str] | None) -> None:
        """Start a process if there may be one more; `failed` is the last start that had failed when the call came.

        Raises:
            ThreadsLost: there is none, and none can be started.

        """
        if self._is_closed:
            msg = f"the process of {self._name} has been ended"
            raise ThreadsLost(msg)
        has_failed = self._failed is not None and self._failed is not failed
        if self._is_startable and not has_failed and len(self._all) < self._most:
            self._begin()
        elif not self._all:
            raise ThreadsLost(self.trouble)

    def _idle_one(self) -> _Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            self._end(child)
        return None

    async def _change(self) -> None:
        """Wait until a process is idle, has ended or cannot be started."""
        change = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        await change

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    def _is_idle(self, child: _Child) -> None:
        self._idle.append(child)
        self._changed()

    @property
    def _is_startable(self) -> bool:
        return self._failed is None or time.monotonic() - self._failed[0] >= START_AGAIN

    def _begin(self) -> asyncio.Task[None]:
        """Start a process that joins the idle ones, whoever waits for it then."""
        task = asyncio.ensure_future(self._join())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return task

    async def _join(self) -> None:
        with suppress(ThreadsLost):  # `trouble` tells of it
            self._is_idle(await self._new())

    async def _new(self) -> _Child:
        """Start a process.

        Raises:
            ThreadsLost: it cannot be started; it is tried again from time to time, whether anybody calls or not.

        """
        child = self._started()
        try:
            await child.connect()
            async with asyncio.timeout(START_SECONDS):
                child.made(await child.frame())
        except asyncio.CancelledError:
            self._end(child)
            raise
        except Exception as exc:
            self._end(child)
            self._failed = time.monotonic(), f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
            if not self._is_closed and (self._mending is None or self._mending.done()):
                self._mending = asyncio.ensure_future(self._mend())
            raise ThreadsLost(self.trouble) from exc
        self._failed = None
        return child

    async def _mend(self) -> None:
        while self._failed is not None:
            await asyncio.sleep(START_AGAIN)
            async with self._places:
                if self._failed is not None:
                    await self._join()

    def _started(self) -> _Child:
        child = _Child(self._servant)
        self._all.add(child)
        return child

    def _give_back(self, child: _Child) -> None:
        if child.is_alive:
            self._is_idle(child)
        else:
            _log.warning("the process of a plug-in ended", plug_in=self._name, fate=child.fate())
            self._end(child)
        self._places.release()

    async def _retire(self, child: _Child) -> None:
        """Let a call end that nobody reads, or kill its process, once another one is there or its time is over."""
        ending = asyncio.ensure_future(_ended(child))
        heir: asyncio.Task[None] | None = None
        try:
            await asyncio.wait({ending}, timeout=min(LATE, self._grace))
            if not ending.done():
                self._late += 1
                heir = self._begin()
                rest = max(0.0, self._grace - LATE)
                await asyncio.wait({ending, heir}, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
            if ending.done() and ending.result() and child.is_alive and (heir is None or not heir.done()):
                self._is_idle(child)
                if heir is not None:
                    heir.cancel()
                return
            if not ending.done():
                _log.warning("the process of a plug-in is killed: a call did not return", plug_in=self._name)
            self._end(child)
            if heir is not None:
                await asyncio.wait({heir})
        finally:
            ending.cancel()
            self._late -= heir is not None
            self._places.release()

    def _end(self, child: _Child) -> None:
        child.kill()
        self._all.discard(child)
        self._changed()


async def _ended(child: _Child) -> bool:
    """Tell a process that nobody reads its call any more, and wait until it has ended; False where the link has."""
    try:
        child.send(encoded(Stop()))
        while not isinstance(frame := await child.frame(), End | Raised):
            if frame is None:
                return False
    except (OSError, ValueError):
        return False
    return True


class _Child:
    """One process."""

    def __init__(self, servant: Servant) -> None:
        ours, theirs = socket.socketpair()
        parent_first = die_with_parent.command(signal.SIGKILL) if sys.platform == "linux" else ()
        program = [*parent_first, sys.executable, "-m", "config.own_process.child", str(theirs.fileno())]
        paths = os.pathsep.join(each for each in sys.path if each)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own program)
                program,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths},
            )
        self._link = ours
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        ours.sendall(encoded(servant))

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def first(self, seconds: float) -> Any:  # noqa: ANN401 (what the servant tells)
        """Wait for the object; see `Processes.open`."""
        self._link.settimeout(seconds)
        try:
            frame = read(self._link)
        except TimeoutError:
            msg = f"its object was not made in {seconds:g} seconds"
            raise ProcessDied(msg) from None
        return self.made(frame)

    def made(self, frame: object) -> Any:  # noqa: ANN401 (what the servant tells)
        """Return what the first frame tells of the object; raise if it could not be made."""
        if isinstance(frame, Raised):
            raise _error(frame)
        if not isinstance(frame, Item):
            raise ProcessDied(self.fate())
        return frame.value

    async def connect(self) -> None:
        """Let the running event loop read the link."""
        if self._streams is None:
            self._link.setblocking(False)
            self._streams = await asyncio.open_unix_connection(sock=self._link)

    def send(self, data: bytes) -> None:
        assert self._streams is not None  # noqa: S101 (`connect` comes first)
        self._streams[1].write(data)

    async def frame(self) -> Any:  # noqa: ANN401 (a frame)
        """Return the next frame; None: the process is gone."""
        assert self._streams is not None  # noqa: S101
        try:
            head = await self._streams[0].readexactly(HEAD.size)
            return decoded(await self._streams[0].readexactly(length_of(head)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def fate(self) -> str:
        """Say how the process ended; its link has, so that it does not live for long."""
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "its process closed the link"
        if code >= 0:
            return f"its process ended with exit code {code}"
        return f"its process ended by signal {-code} ({signal.Signals(-code).name})"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._streams is None:
            self._link.close()
        else:
            with suppress(RuntimeError):  # its event loop is closed
                self._streams[1].transport.abort()


def _error(raised: Raised) -> Exception:
    """Return what the code raised, with its traceback as the cause; what cannot be had here as an error of its name."""
    error: BaseException | None = None
    if raised.pickled is not None:
        with suppress(Exception):  # it could be read where it was made
            error = pickle.loads(raised.pickled)  # noqa: S301 (of our own process)
    if not isinstance(error, BaseException):
        error = type(raised.name, (ChildError,), {})(raised.text)
        if raised.status is not None:
            headers = {"retry-after": raised.retry_after} if raised.retry_after else {}
            vars(error)["status_code"] = raised.status
            vars(error)["response"] = SimpleNamespace(status_code=raised.status, headers=headers)
    error.__cause__ = ChildError(f"in the process of the plug-in:\n{raised.trace}")
    if raised.is_error and isinstance(error, Exception):
        return error
    ended = ThreadEnded(raised.name)
    ended.__cause__ = error
    return ended
