"""Requests to embedding servers: JSON in, JSON out, both bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from config.version import VERSION
from embedding.errors import EmbeddingFailed, EmbeddingUnavailable
from embedding.remote.faults import refusal, retry_after, said_in, unreached

CONNECT_SECONDS = 5.0
MAX_BYTES = 256 * 1024 * 1024
"""Of an answer: 4096 vectors of 3072 numbers take less."""


class JsonLink:
    """Posts JSON to one server. Use it from one event loop."""

    def __init__(self, base_url: str, *, key: str, timeout: float, connections: int) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            headers={"User-Agent": f"footnote/{VERSION}", **({"Authorization": f"Bearer {key}"} if key else {})},
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer's object.

        Raises:
            EmbeddingFailed: it was refused for what it asks, or is no JSON object.
            EmbeddingUnavailable: the server cannot be reached, or failed.

        """
        try:
            async with self._client.stream("POST", path, content=_encoded(body), headers=_JSON) as response:
                data = await _read(response)
        except (httpx.TransportError, httpx.InvalidURL) as exc:
            raise unreached(exc) from None
        except httpx.DecodingError:
            msg = "the embedding server's answer cannot be decoded"
            raise EmbeddingUnavailable(msg) from None
        if response.is_redirect:
            msg = "the embedding server sends us elsewhere; check BASE_URL"
            raise EmbeddingUnavailable(msg, retryable=False)
        if not response.is_success:
            raise refusal(response.status_code, said=said_in(data), wait=retry_after(response.headers))
        return _object(data)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


def _encoded(body: Mapping[str, Any]) -> bytes:
    # a lone surrogate, which UTF-8 cannot hold, is written as its escape
    return json.dumps(body).encode()


async def _read(response: httpx.Response) -> bytes:
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MAX_BYTES:
            msg = f"the embedding server's answer is longer than {MAX_BYTES // 1024**2} MiB"
            raise EmbeddingFailed(msg)
    return bytes(data)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        msg = "the embedding server's answer is no JSON object; check BASE_URL"
        raise EmbeddingFailed(msg)
    return found
