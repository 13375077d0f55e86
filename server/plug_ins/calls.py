"""Calls of a plug-in's methods: in time, in threads where they are synchronous, and with errors that name it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from config.errors import FootnoteError
from config.own_process.processes import ProcessDied, Processes
from config.telemetry import spans
from config.threads import ThreadEnded, Threads, ThreadsLost
from server.errors import PlugInFailed, PlugInTooSlow, PlugInUnable, PlugInUnavailable
from server.plug_ins.abilities import Way

_END: Any = object()
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Away:
    """An object of a plug-in that is in processes of its own; `kind` is its class."""

    kind: type
    processes: Processes


def kind_of(target: object) -> type:
    """Return the class of a plug-in's object, wherever that is."""
    return target.kind if isinstance(target, Away) else type(target)


@dataclass(frozen=True, slots=True)
class Calls:
    """How one plug-in is called.

    Attributes:
        name: as the settings or its package have it.
        kind: ``engine``, ``chat_engine``, ``postprocessor``, ``guard``.
        timeout: seconds for a call, or for a piece of a stream.
        processes: its own, if it has any.
        blocks: its async methods are not to be called.
        brings_passages: see `config.settings.PlugIn`.

    """

    name: str
    kind: str
    threads: Threads
    timeout: float
    processes: Processes | None = None
    blocks: bool = False
    brings_passages: bool = False

    @property
    def trouble(self) -> str | None:
        """Why it cannot be called at the moment, or None."""
        return self.threads.trouble if self.processes is None else self.processes.trouble

    async def threaded(self, call: Callable[..., Any], /, *arguments: Any) -> Any:  # noqa: ANN401 (of the plug-in)
        """Call a synchronous function in one of its threads.

        Raises:
            PlugInFailed: it raised an error.
            PlugInTooSlow: it did not return in time; its thread is lost until it does.
            PlugInUnavailable: all threads are lost.
            PlugInUnable: it is not implemented.

        """
        with self._observed():
            return await self._in_time(self.threads.run(call, *arguments))

    async def called(self, way: Way, target: object, name: str, sync_name: str, /, *arguments: Any) -> Any:  # noqa: ANN401
        """Call an async method of an object the way it is to be, or its synchronous twin; raise as `threaded` does.

        One that is `Away` is called there, and its process killed if it does not return in time.
        """
        if isinstance(target, Away):
            with self._observed():
                way = "sync" if self.blocks else way
                return await self._in_its_process(target.processes, way, name, sync_name, arguments)
        if way == "sync" or self.blocks:
            return await self.threaded(getattr(target, sync_name), *arguments)
        method = getattr(target, name)
        return await (self.awaited(method, *arguments) if way == "async" else self.threaded(driven, method, *arguments))

    async def awaited(self, call: Callable[..., Awaitable[Any]], /, *arguments: Any) -> Any:  # noqa: ANN401
        """Call an async function on the event loop; raise as `threaded` does."""
        with self._observed():
            return await self._in_time(call(*arguments))

    async def pieces(self, generator: Any) -> AsyncIterator[Any]:  # noqa: ANN401 (an iterator, async or not)
        """Yield what an iterator of the plug-in's yields; a synchronous one runs in threads."""
        if hasattr(generator, "__anext__"):
            while (piece := await self.awaited(anext, generator, _END)) is not _END:
                yield piece
            return
        while (piece := await self.threaded(next, generator, _END)) is not _END:
            yield piece

    def unfit(self, found: object, due: str) -> PlugInFailed:
        """Return the error for a plug-in that returned something else than what is due."""
        what = type(found).__name__ if found else f"an empty {type(found).__name__}"
        return PlugInFailed(self.name, f"it returned {what} where {due} is due")

    async def _in_time(self, called: Awaitable[Any]) -> Any:  # noqa: ANN401 (of the plug-in)
        try:
            async with asyncio.timeout(self.timeout) as limit:
                return await called
        except TimeoutError:
            if limit.expired():
                raise PlugInTooSlow(self.name, self.timeout) from None
            raise
        except ThreadsLost as exc:
            raise PlugInUnavailable(self.name, str(exc)) from None

    async def _in_its_process(self, processes: Processes, *call: Any) -> Any:  # noqa: ANN401 (of the plug-in)
        """Wait for a process, and call it: each has the timeout, and to wait is not the plug-in's fault."""
        try:
            async with asyncio.timeout(None) as limit:

                def begun() -> None:
                    limit.reschedule(asyncio.get_running_loop().time() + self.timeout)

                return await processes.run("call", *call, wait=self.timeout, begun=begun)
        except TimeoutError:
            if limit.expired():
                raise PlugInTooSlow(self.name, self.timeout) from None
            raise
        except ThreadsLost as exc:
            raise PlugInUnavailable(self.name, str(exc)) from None

    @contextmanager
    def _observed(self) -> Iterator[None]:
        attributes = {"footnote.plug_in": self.name, "footnote.plug_in.kind": self.kind}
        with spans.span("footnote.plug_in", attributes=attributes), self.named():
            yield

    @contextmanager
    def named(self) -> Iterator[None]:
        """Turn what the plug-in raises into an error that names it: its calls, and code of the objects it returned."""
        try:
            yield
        except (FootnoteError, Refusal, GeneratorExit):
            raise
        except ProcessDied as exc:
            _log.warning("plug-in failed", plug_in=self.name, kind=self.kind, reason=str(exc))
            raise PlugInFailed(self.name, str(exc)) from None
        except NotImplementedError as exc:
            raise PlugInUnable(self.name, "its class does not implement it") from exc
        except asyncio.CancelledError as exc:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise self._failed(exc) from exc
        except BaseException as exc:
            raise self._failed(exc) from exc

    def _failed(self, exc: BaseException) -> PlugInFailed:
        _log.warning("plug-in failed", plug_in=self.name, kind=self.kind, exc_info=exc)
        return PlugInFailed(self.name, f"it raised {_name_of(exc)}; the server's log has its traceback")


def _name_of(error: BaseException) -> str:
    """Return the name of what the plug-in raised, where something else had to carry it to whoever waits."""
    if isinstance(error, ThreadEnded):
        return str(error)
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration | StopAsyncIteration):
        error = error.__cause__
    return type(error).__name__


def driven(method: Callable[..., Coroutine[Any, Any, Any]], /, *arguments: Any) -> Any:  # noqa: ANN401
    """Run an async method to its end, in a thread."""
    return asyncio.run(method(*arguments))


class Refusal(Exception):
    """A guard's word that something is refused; `server.plug_ins.guards.Refused` is the one to raise."""
