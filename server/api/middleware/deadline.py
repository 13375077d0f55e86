"""A time limit for requests, and the handle by which they can be interrupted."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.middleware.body_limit import is_upload
from server.errors import DeadlineExceeded
from server.waiting.interrupts import Interrupt, OpenRequests


class Deadline:
    """Ends a request after `seconds`, an upload after `upload_seconds`.

    For a stream the limit applies to its first event; after that the model's own timeouts apply.
    """

    def __init__(self, app: ASGIApp, *, seconds: float, upload_seconds: float, open_requests: OpenRequests) -> None:
        self._app = app
        self._seconds = seconds
        self._upload_seconds = upload_seconds
        self._open_requests = open_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = self._upload_seconds if is_upload(scope) else self._seconds
        interrupt = Interrupt(after=seconds, error=DeadlineExceeded(seconds))
        scope["state"]["interrupt"] = interrupt

        async def send_and_disarm(message: Message) -> None:
            if message["type"] == "http.response.start":  # a response that has begun cannot become another one
                interrupt.disarm()
                self._open_requests.discard(interrupt)
            await send(message)

        self._open_requests.add(interrupt)
        try:
            async with interrupt:
                await self._app(scope, receive, send_and_disarm)
        finally:
            self._open_requests.discard(interrupt)
