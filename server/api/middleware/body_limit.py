"""A size limit for request bodies, apart from uploads."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestion.names import size_as_text
from server.api.context import request_id_of
from server.api.problems import KINDS, Problem, problem_response

LINGER_SECONDS = 1.0
LINGER_BYTES = 32 * 1024 * 1024
CLOSE = {"Connection": "close"}


class BodyTooLarge(HTTPException):
    """The body exceeds the limit; an `HTTPException`, as FastAPI wraps other errors raised while it reads the body."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"a request body may have {size_as_text(most)} at the most here", headers=CLOSE)


def is_upload(scope: Scope) -> bool:
    """Return whether a request uploads a file, which has limits of its own; see `UploadBounds`.

    Of several content types the first counts, by which handlers go, too: what is read as JSON is no upload.
    """
    if scope["type"] != "http" or scope["method"] not in {"POST", "PUT"}:
        return False
    path: str = scope["path"]
    if path != "/documents" and not path.startswith("/documents/"):
        return False
    content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return content_type.partition(b";")[0].strip().lower() == b"multipart/form-data"


class BodyLimit:
    """Answers 413 ``too-large``: by ``Content-Length`` before reading, else once the limit is exceeded."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        length = content_length(scope) if scope["type"] == "http" and not is_upload(scope) else 0
        if length is None:
            await self._counted(scope, receive, send)
        elif length > self._most:
            problem = Problem(KINDS["too-large"], str(BodyTooLarge(self._most).detail))
            response = problem_response(problem, request_id=request_id_of(scope), headers=CLOSE)
            await response(scope, receive, lingering(receive, send))
        else:
            await self._app(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = 0

        async def receive_counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise BodyTooLarge(self._most)
            return message

        linger = lingering(receive, send)

        async def sendlingering(message: Message) -> None:
            await (linger if seen > self._most else send)(message)

        await self._app(scope, receive_counted, sendlingering)


def content_length(scope: Scope) -> int | None:
    """Return the announced length, 0 for a request without a body, None where the length is not announced."""
    announced = chunked = None
    for name, value in scope["headers"]:
        if name == b"content-length":
            announced = int(value) if value.isdigit() else None
        elif name == b"transfer-encoding":
            chunked = value
    return (0 if scope["method"] in {"GET", "HEAD", "OPTIONS"} else None) if announced is None or chunked else announced


def lingering(receive: Receive, send: Send) -> Send:
    """Read on for a short, bounded time between the response and the end of the connection.

    Closing a socket with unread data resets the connection, and many clients that are still sending would never see the
    response.
    """

    async def send_and_linger(message: Message) -> None:
        if message["type"] != "http.response.body" or message.get("more_body"):
            await send(message)
            return
        await send({**message, "more_body": True})
        await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_and_linger


async def _discard(receive: Receive) -> None:
    discarded = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while discarded < LINGER_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
                discarded += len(message["body"])
    except TimeoutError:
        return
