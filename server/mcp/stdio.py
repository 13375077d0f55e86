"""MCP over standard input and output: ``python -m server mcp``, started by the program that uses it.

Messages are answered at once; the runtime, which takes seconds to open, is opened in the background, and calls wait.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, NoReturn, Self

import anyio
import structlog
from mcp.server import Server
from mcp.server.stdio import stdio_server

from config.errors import FootnoteError
from config.settings import Settings
from config.telemetry.setup import Telemetry, open_telemetry
from server.api.contracts import Runtime
from server.mcp.calls import Calls
from server.mcp.protocol import make_server
from server.principal import EVERYBODY, being
from server.waiting.interrupts import OpenRequests
from storage.caller import LOCAL, acting_as
from storage.origin import at_command_line

_log = structlog.get_logger(__name__)
Opening = Callable[[], Awaitable[AbstractAsyncContextManager[Runtime]]]


async def serve_stdio(settings: Settings, *, version: str) -> NoReturn:
    """Serve the client until it closes standard input or a signal arrives; then exit with code 0.

    Meanwhile file descriptor 1 is standard error, so that no library can write between the protocol's lines.
    """
    with at_command_line(), being(EVERYBODY):  # outermost, as the SDK handles a message in the context of what reads it
        await _serve_as_everybody(settings, version=version)


async def _serve_as_everybody(settings: Settings, *, version: str) -> NoReturn:
    stopping = _on_signals()
    # before the task that reads: a call has the context of the message that it came with
    with acting_as(LOCAL):
        async with stdio_server() as streams:
            with open_telemetry(settings.telemetry, version=version) as telemetry:
                async with BackgroundRuntime(lambda: _opening(settings, telemetry)) as runtime:
                    calls = Calls(runtime.get, seconds=settings.server.request_timeout, open_requests=OpenRequests())
                    server = make_server(calls, version=version, plug_ins=settings.plug_ins)
                    await _serve(server, streams, until=stopping)
            _leave()


class BackgroundRuntime:
    """Opens the runtime in the background; after a failure the next `get` tries again."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[Runtime]
        self._holder: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if not self._opened.done():
            self._holder.cancel()
        with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError):  # the SDK cancels us on a broken pipe
            await self._holder

    async def get(self) -> Runtime:
        """Return the runtime once it is open.

        Raises:
            FootnoteError: the runtime cannot be opened; the message says what to do.

        """
        if self._opened.done() and self._opened.exception() is not None:
            self._begin()
        return await asyncio.shield(self._opened)

    def _begin(self) -> None:
        self._opened = asyncio.get_running_loop().create_future()
        self._holder = asyncio.create_task(self._hold(self._opened))

    async def _hold(self, opened: asyncio.Future[Runtime]) -> None:
        """Open and close in one task: the runtime's context managers are bound to the task that entered them."""
        try:
            async with await self._opening() as runtime:
                opened.set_result(runtime)
                _log.info("ready")
                await self._closing.wait()
        except Exception as exc:  # noqa: BLE001 (calls report it, each with its id)
            if not opened.done():
                opened.set_exception(exc)
                opened.exception()  # retrieved, so that asyncio does not log it
            reason = str(exc) if isinstance(exc, FootnoteError) else None
            _log.warning("the runtime failed", error=type(exc).__name__, reason=reason)


async def _opening(settings: Settings, telemetry: Telemetry) -> AbstractAsyncContextManager[Runtime]:
    runtime = await asyncio.to_thread(__import__, "server.runtime", fromlist=["open_runtime"])
    opened: AbstractAsyncContextManager[Runtime] = runtime.open_runtime(settings, telemetry=telemetry)
    return opened


async def _serve(server: Server[Any], streams: tuple[Any, Any], *, until: asyncio.Event) -> None:
    serving = asyncio.create_task(server.run(*streams, server.create_initialization_options()))
    stopping = asyncio.create_task(until.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def _leave() -> NoReturn:
    """Exit without waiting for threads: everything is closed, but one may still read input or load a model."""
    sys.stderr.flush()
    os._exit(0)
