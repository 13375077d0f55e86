"""Limits for uploads: how many at once, how large, how long idle."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.middleware.body_limit import CLOSE, BodyTooLarge, content_length, is_upload, lingering
from server.api.problems import KINDS, Problem, problem_of, problem_response
from server.errors import Overloaded, UploadStalled

FIELDS_BYTES = 1 << 20
"""Of a body, beside its file."""


class UploadBounds:
    """Refuses uploads over a limit before they are read, or once they exceed it.

    If the response comes before the end of the body, the connection is closed after it: the rest is not read.
    """

    def __init__(self, app: ASGIApp, *, most: int, max_bytes: int, silence: float) -> None:
        self._app = app
        self._most = most
        self._max_bytes = max_bytes + FIELDS_BYTES
        self._silence = silence
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if not is_upload(scope):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            response = problem_response(refusal, request_id=request_id_of(scope), headers=CLOSE)
            await response(scope, receive, lingering(receive, send))
            return
        self._running += 1
        try:
            body = _Body(receive, send, max_bytes=self._max_bytes, silence=self._silence)
            await self._app(scope, body.receive, body.send)
        finally:
            self._running -= 1

    def _refusal(self, scope: Scope) -> Problem | None:
        if (content_length(scope) or 0) > self._max_bytes:
            return Problem(KINDS["too-large"], str(BodyTooLarge(self._max_bytes).detail))
        if self._running >= self._most:
            return problem_of(Overloaded(retry_after=5), request_id=request_id_of(scope))
        return None


class _Body:
    """The body of an upload that is being received, and its response."""

    def __init__(self, receive: Receive, send: Send, *, max_bytes: int, silence: float) -> None:
        self._receive = receive
        self._send = send
        self._linger = lingering(receive, send)
        self._max_bytes = max_bytes
        self._silence = silence
        self._seen = 0
        self._ended = False

    async def receive(self) -> Message:
        """Receive a piece; after the end there is no time limit, as only the disconnect is left."""
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout(self._silence):
                message = await self._receive()
        except TimeoutError:
            raise UploadStalled(self._silence) from None
        self._ended = not message.get("more_body")
        self._seen += len(message.get("body", b""))
        if self._seen > self._max_bytes:
            raise BodyTooLarge(self._max_bytes)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if self._ended:
            await self._send(message)
            return
        if message["type"] == "http.response.start":
            headers = [header for header in message.get("headers", ()) if header[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        await self._linger(message)
