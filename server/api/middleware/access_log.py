"""One log line for each request; nothing of its body, its query string or its path's values."""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_LEFT = 499  # nginx's number for a client that closed the connection first
_log = structlog.get_logger("footnote.access")


class AccessLog:
    """Logs method, route, status and milliseconds when the response has ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            left = scope["state"].get("client_left", False)
            _log.info(
                "request",
                method=scope["method"],
                route=getattr(scope.get("route"), "path_format", None),
                status=CLIENT_LEFT if left or not status else status,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
