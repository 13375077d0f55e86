"""Ending a piece of work from outside, with an error that says why: the client left, time is up, the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from server.errors import Overloaded


class ShuttingDown(Overloaded):
    """The server stops, and this request had not ended in time."""

    def __init__(self) -> None:
        super().__init__()
        self.args = ("the server is shutting down; try again",)


class Interrupt:
    """A block that ends with an error of somebody else's choice.

        async with Interrupt(after=30, error=DeadlineExceeded(30)) as interrupt:
            ...  # interrupt.now(ShuttingDown()), called elsewhere, cancels this and raises ShuttingDown behind it

    Built on `asyncio.Timeout`, which keeps the accounts of nested cancellations.
    """

    __slots__ = ("_error", "_open", "_timeout")

    def __init__(self, *, after: float | None = None, error: Exception | None = None) -> None:
        self._error = error
        self._timeout = asyncio.timeout(after)
        self._open = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        try:
            await self._timeout.__aexit__(exc_type, exc, trace)
        except TimeoutError:
            raise (self._error or TimeoutError()) from None

    def now(self, error: Exception) -> None:
        """End the block with `error`; the first caller's error counts, and after the end nothing happens."""
        if self._open and not self._timeout.expired():
            self._error = error
            self._open = False
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def disarm(self) -> None:
        """Take the time limit off."""
        if self._open and not self._timeout.expired():
            self._timeout.reschedule(None)


class OpenRequests:
    """The interrupts of all requests that are being answered, so that a stopping server can end them."""

    def __init__(self) -> None:
        self._interrupts: set[Interrupt] = set()

    def __len__(self) -> int:
        return len(self._interrupts)

    def add(self, interrupt: Interrupt) -> None:
        """Remember a request."""
        self._interrupts.add(interrupt)

    def discard(self, interrupt: Interrupt) -> None:
        """Forget a request."""
        self._interrupts.discard(interrupt)

    def end_all(self) -> None:
        """End every request with `ShuttingDown`: plain ones as a 503, streams with an ``error`` event."""
        for interrupt in list(self._interrupts):
            interrupt.now(ShuttingDown())


async def watch_for_disconnect(receive: Receive, interrupt: Interrupt) -> None:
    """Wait until the client has left, then end the work with `ClientDisconnect`; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    interrupt.now(ClientDisconnect())


@asynccontextmanager
async def ended_by_disconnect(request: Request) -> AsyncIterator[None]:
    """End the request in hand as soon as its client leaves, so that no model writes for nobody."""
    watcher = asyncio.create_task(watch_for_disconnect(request.receive, request.scope["state"]["interrupt"]))
    try:
        yield
    finally:
        watcher.cancel()
