"""Graceful shutdown: say so, take no more connections, answer what comes on those that are there, end the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.problems import problem_of, problem_response
from server.errors import ShuttingDown
from server.waiting.interrupts import OpenRequests

LOOK_SECONDS = 0.05
LINGER_SECONDS = 1.0
"""For so long after the last request a connection stays open that its client, a proxy with a pool, may use again."""
CLOSE = {"Connection": "close"}


class Drain:
    """Whether the server is shutting down, and how much still runs.

    Attributes:
        begun: whether `/ready` tells load balancers to send requests elsewhere. Those that come are answered.
        closing: whether the port is closed.
        over: whether requests are refused, and those that ran were ended.
        running: requests being answered.

    """

    def __init__(self, open_requests: OpenRequests) -> None:
        self._open_requests = open_requests
        self._streams: Callable[[], int] = lambda: 0
        self._end_streams: Callable[[], None] = lambda: None
        self.begun = self.closing = self.over = False
        self.running = 0
        self.last = 0.0  # when a request ended, by the event loop's clock

    def include(self, *, streams: Callable[[], int], end_streams: Callable[[], None]) -> None:
        """Also wait for streams that are written without a request, whose clients may resume them."""
        self._streams = streams
        self._end_streams = end_streams

    async def run(
        self,
        *,
        delay: float,
        patience: float,
        hurry: Callable[[], bool],
        close_port: Callable[[], Awaitable[object]],
        connections: Callable[[], int],
    ) -> None:
        """Go on for `delay` seconds, then close the port; end what still runs `patience` seconds after that.

        A proxy tries a connection that is refused elsewhere, by its defaults; a 503, or a connection that is closed
        while it sends, it would tell its client of. So what comes on `connections` that are open is answered.
        Waiting stops early when `hurry` returns true.
        """
        loop = asyncio.get_running_loop()

        def is_idle() -> bool:
            rests = not connections() or loop.time() - self.last > LINGER_SECONDS
            return rests and not self.running and not self._streams()

        self.begun = True
        await self._wait(delay, hurry=hurry, until=lambda: False)
        self.closing = True
        await close_port()
        self.last = loop.time()
        await self._wait(patience, hurry=hurry, until=is_idle)
        self.over = True
        self.end_all()

    async def _wait(self, seconds: float, *, hurry: Callable[[], bool], until: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline and not hurry() and not until():  # noqa: ASYNC110 (nobody tells when)
            await asyncio.sleep(LOOK_SECONDS)

    def end_all(self) -> None:
        """End everything with `ShuttingDown`: plain requests as a 503, streams with an ``error`` event."""
        self._open_requests.end_all()
        self._end_streams()


class RefuseWhenOver:
    """Counts the requests that run; answers those that come when the shutdown's time is over with 503."""

    def __init__(self, app: ASGIApp, *, drain: Drain, exempt: frozenset[str]) -> None:
        self._app = app
        self._drain = drain
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        if self._drain.over:
            request_id = request_id_of(scope)
            problem = problem_of(ShuttingDown(), request_id=request_id)
            await problem_response(problem, request_id=request_id, headers=CLOSE)(scope, receive, send)
            return
        self._drain.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.running -= 1
            self._drain.last = asyncio.get_running_loop().time()
