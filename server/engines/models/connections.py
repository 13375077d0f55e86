"""The HTTP connections under the SDKs: timeouts, limits and reuse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

import httpx

from config.telemetry import spans

MAX_LINE_LENGTH = 4 * 1024 * 1024
"""Maximum length of a line of a stream, in bytes."""

DRAIN_TIMEOUT = 0.25
"""Seconds to wait for the last bytes of a finished stream."""


def connection_options(*, connect_timeout: float, on_this_machine: bool = False) -> dict[str, Any]:
    """Return the arguments for an `httpx.AsyncClient`, the SDKs' included.

    ``on_this_machine`` is for our own child process: no proxy, a new connection for each request.
    """
    return {
        # reads are bounded by LanguageModel's deadlines, per token and per answer
        "timeout": httpx.Timeout(None, connect=connect_timeout, pool=connect_timeout),
        "limits": httpx.Limits(
            max_connections=1000,
            # llama-server announces keep-alive but closes after each stream; a new local connection is cheap
            max_keepalive_connections=0 if on_this_machine else 100,
            keepalive_expiry=30,
        ),
        "trust_env": not on_this_machine,  # proxies are for remote servers
        "follow_redirects": False,  # a redirect would send the key to another server
        "event_hooks": {"request": [_continue_trace], "response": [_watch_body]},
    }


async def _continue_trace(request: httpx.Request) -> None:
    request.headers.update(spans.carrier())


async def _watch_body(response: httpx.Response) -> None:
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 (the client is async)
    response.stream = Body(response.stream)


def shown(url: str) -> str:
    """Return an address without what may be a secret: user, password, query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


class Body(httpx.AsyncByteStream):
    """A response body with bounded lines that is read to its end after OpenAI's ``[DONE]``.

    OpenAI's SDK closes the response at that mark, with a few bytes unread. httpx would then drop the connection, and
    each question would pay for a new TCP and TLS handshake.
    """

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._pieces = aiter(stream)
        self._last = b""
        self._line = 0

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces as they come.

        Raises:
            httpx.DecodingError: a line that is too long.

        """
        async for piece in self._pieces:
            end = piece.rfind(b"\n")
            self._line = self._line + len(piece) if end < 0 else len(piece) - end - 1
            if self._line > MAX_LINE_LENGTH:
                msg = "a line without an end"
                raise httpx.DecodingError(msg)
            self._last = piece
            yield piece

    async def aclose(self) -> None:
        """Give the connection back, or close it."""
        try:
            if b"[DONE]" in self._last:
                await self._drain()
        finally:
            await self._stream.aclose()

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                async for _ in self._pieces:
                    pass
