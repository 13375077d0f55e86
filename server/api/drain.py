"""Graceful shutdown: refuse new requests, wait for running ones, end the rest with an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.problems import problem_of, problem_response
from server.errors import ShuttingDown
from server.waiting.interrupts import OpenRequests

LOOK_SECONDS = 0.05
CLOSE = {"Connection": "close"}


class Drain:
    """Whether the server is shutting down, and how much still runs.

    Attributes:
        begun: whether new requests are refused.
        running: requests being answered.

    """

    def __init__(self, open_requests: OpenRequests) -> None:
        self._open_requests = open_requests
        self._streams: Callable[[], int] = lambda: 0
        self._end_streams: Callable[[], None] = lambda: None
        self.begun = False
        self.running = 0

    def include(self, *, streams: Callable[[], int], end_streams: Callable[[], None]) -> None:
        """Also wait for streams that are written without a request, whose clients may resume them."""
        self._streams = streams
        self._end_streams = end_streams

    async def run(self, *, delay: float, patience: float, hurry: Callable[[], bool]) -> None:
        """Refuse new requests for at least `delay` seconds; end those that still run after `patience` seconds.

        Waiting stops early when `hurry` returns true.
        """
        self.begun = True
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not hurry():
            waited = loop.time() - started
            idle = not self.running and not self._streams()
            if waited >= patience or (idle and waited >= delay):
                break
            await asyncio.sleep(LOOK_SECONDS)
        self.end_all()

    def end_all(self) -> None:
        """End everything with `ShuttingDown`: plain requests as a 503, streams with an ``error`` event."""
        self._open_requests.end_all()
        self._end_streams()


class RefuseWhileDraining:
    """Answers new requests with 503 and ``Retry-After`` during the shutdown, and counts those that run."""

    def __init__(self, app: ASGIApp, *, drain: Drain, exempt: frozenset[str]) -> None:
        self._app = app
        self._drain = drain
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        if self._drain.begun:
            request_id = request_id_of(scope)
            problem = problem_of(ShuttingDown(), request_id=request_id)
            await problem_response(problem, request_id=request_id, headers=CLOSE)(scope, receive, send)
            return
        self._drain.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.running -= 1
