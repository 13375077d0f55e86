"""A limit on concurrent requests."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.problems import problem_of, problem_response
from server.errors import Overloaded


class ConcurrencyLimit:
    """Refuses requests over the limit with 503 ``overloaded``; a queue would only delay everybody."""

    def __init__(self, app: ASGIApp, *, most: int, exempt: frozenset[str]) -> None:
        self._app = app
        self._most = most
        self._exempt = exempt
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        if self._running >= self._most:
            request_id = request_id_of(scope)
            problem = problem_of(Overloaded(), request_id=request_id)
            await problem_response(problem, request_id=request_id)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
