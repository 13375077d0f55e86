"""Interrupting work from outside, with an error that says why: the client left, time is up, the server stops."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self

from server.errors import ShuttingDown


class Interrupt:
    """A block that other code can end with an error of its choice.

        async with Interrupt(after=30, error=DeadlineExceeded(30)) as interrupt:
            ...  # interrupt.now(ShuttingDown()), called elsewhere, cancels the block and raises ShuttingDown after it

    Built on `asyncio.Timeout`, which handles nested cancellations.
    """

    __slots__ = ("_after", "_early", "_error", "_open", "_outer", "_timeout")

    def __init__(self, *, after: float | None = None, error: Exception | None = None) -> None:
        self._after = after
        self._error = error
        self._timeout = asyncio.timeout(after)
        self._open = False
        self._early: Exception | None = None
        self._outer: Token[Interrupt | None] | None = None

    @property
    def cause(self) -> Exception | None:
        """Why the block is being ended, or None."""
        return self._error if self._timeout.expired() else None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._open = True
        self._outer = _innermost.set(self)
        if self._early is not None:
            self.now(self._early)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._outer is not None:
            _innermost.reset(self._outer)
        try:
            await self._timeout.__aexit__(exc_type, exc, trace)
        except TimeoutError:
            raise (self._error or TimeoutError()) from None

    def now(self, error: Exception) -> None:
        """End the block with `error`, even before it begins; only the first error counts."""
        self._early = self._early or error
        if self._open and not self._timeout.expired():
            self._error = error
            self._open = False
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def disarm(self) -> None:
        """Remove the time limit."""
        if self._open and not self._timeout.expired():
            self._timeout.reschedule(None)

    def rearm(self) -> None:
        """Put the time limit on again, counted from now."""
        if self._open and not self._timeout.expired() and self._after is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._after)


_innermost: ContextVar[Interrupt | None] = ContextVar("innermost interrupt", default=None)


def why_cancelled() -> Exception | None:
    """Return the error with which the current work is being interrupted; None if it is not."""
    innermost = _innermost.get()
    return innermost.cause if innermost else None


class OpenRequests:
    """The interrupts of all running requests, so that a stopping server can end them."""

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
