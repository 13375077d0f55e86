"""HTTP to a model's server: one request, its answer line by line, every failure by its name.

The SDKs are not used for this. The one of OpenAI drops the connection after each stream, so that each question pays for
a new TCP and TLS handshake; the one of Ollama hides ``Retry-After`` and splits lines at characters that JSON may hold
(U+0085). Both protocols are one JSON object a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import re
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import httpx

from server.engines.models.errors import ModelError, ModelFailed, ModelRateLimited, ModelRejected, ModelUnavailable

LONGEST_LINE = 4 * 1024 * 1024
"""Bytes; a line of a stream longer than this is no token."""

ERROR_BYTES = 64 * 1024
"""Bytes that are read of a body that tells of an error."""

PROBE_TIMEOUT = 2.0
DRAIN_TIMEOUT = 0.25

_TOO_LONG = re.compile(r"context|too (long|large|many)|maximum.{0,20}(length|tokens)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hints:
    """What to tell somebody whose provider refuses: names of settings, never their values."""

    address: str = "FOOTNOTE_LLM__BASE_URL"
    key: str = "FOOTNOTE_LLM__API_KEY"
    unknown_model: str = "check FOOTNOTE_LLM__MODEL and FOOTNOTE_LLM__BASE_URL"


class Wire:
    """A pool of connections to one model's server. Use it from one event loop, and close it.

    ``on_this_machine`` is for our own child process: no proxy, a new connection for each request.
    """

    def __init__(
        self,
        url: str,
        *,
        hints: Hints,
        api_key: str | None = None,
        connect_timeout: float = 5,
        on_this_machine: bool = False,
    ) -> None:
        self.url = url.rstrip("/")
        self.hints = hints
        self._api_key = api_key
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            # reads are bounded by LanguageModel's deadlines, one for the token and one for the answer
            timeout=httpx.Timeout(None, connect=connect_timeout, pool=connect_timeout),
            limits=httpx.Limits(
                max_connections=1000,
                # llama-server says "keep-alive" and closes after each stream; a new connection costs nothing here
                max_keepalive_connections=0 if on_this_machine else 100,
                keepalive_expiry=30,
            ),
            trust_env=not on_this_machine,  # proxies are for the world outside
        )

    async def lines(self, path: str, body: Mapping[str, object]) -> AsyncGenerator[str, None]:
        """POST ``body`` and yield the lines of the answer, none of them empty.

        Raises:
            ModelError: of every kind but `ModelTimeout`.

        """
        request = self._client.build_request("POST", self.url + path, json=body)
        with _reaching():
            response = await self._client.send(request, stream=True)
        try:
            await self._refuse(response)
            with _reading():
                async for line in _split(response.aiter_bytes()):
                    yield line.decode()
        finally:
            await response.aclose()

    async def get(self, path: str, *, timeout: float = PROBE_TIMEOUT) -> tuple[int, object]:  # noqa: ASYNC109 (httpx's)
        """GET a small JSON document; return status and document (None if it is no JSON).

        Raises:
            ModelUnavailable: nobody answers within ``timeout`` seconds.

        """
        try:
            with _reaching():
                response = await self._client.get(self.url + path, timeout=timeout)
        except ModelFailed as error:
            raise ModelUnavailable(str(error)) from error
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, None

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _refuse(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code == httpx.codes.OK and kind not in {"text/html", "application/json"}:
            return
        with _reading():
            detail, code = _what_it_says(await _beginning(response))
        detail = detail.replace(self._api_key, "[key]") if self._api_key else detail
        if response.status_code == httpx.codes.OK:
            msg = f"the model's server answered with {kind} instead of a stream; check {self.hints.address}"
            raise ModelFailed(msg, retryable=False, detail=detail)
        wait = retry_after(response.headers)
        raise refusal(response.status_code, hints=self.hints, detail=detail, code=code, wait=wait)


def refusal(status: int, *, hints: Hints, detail: str, code: str, wait: float | None = None) -> ModelError:
    """Name the failure that an HTTP status, or the same number within a stream, stands for."""
    if code in {"insufficient_quota", "billing_hard_limit_reached"}:
        return ModelRejected("the quota of the model's provider is used up; its account needs credit", detail=detail)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ModelRateLimited("the model's provider is rate limiting us; try again later", wait=wait, detail=detail)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY}:
        return ModelFailed(f"the model's provider failed with status {status}", detail=detail)
    return ModelRejected(_what_to_change(status, hints, detail, code), detail=detail)


def _what_to_change(status: int, hints: Hints, detail: str, code: str) -> str:
    if status == httpx.codes.UNAUTHORIZED:
        return f"the model's provider does not accept the key; check {hints.key}"
    if status == httpx.codes.FORBIDDEN:
        return f"the model's provider forbids the request; check what {hints.key} may use"
    if status == httpx.codes.NOT_FOUND or code == "model_not_found":
        return f"the model's provider knows no such model or address; {hints.unknown_model}"
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE or "context" in code or _TOO_LONG.search(detail):
        return "the question and its passages are more than the model reads; ask with a smaller k"
    if httpx.codes.MULTIPLE_CHOICES <= status < httpx.codes.BAD_REQUEST:
        return f"the model's server has moved (status {status}); check {hints.address}"
    return f"the model's provider refused the request with status {status}; the server's log says why"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110: seconds or a date; and OpenAI's ``-ms``)."""
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


async def drain(lines: AsyncGenerator[str, None]) -> None:
    """Read a finished answer's last bytes, so that its connection can be used again."""
    with contextlib.suppress(TimeoutError, ModelError):
        async with asyncio.timeout(DRAIN_TIMEOUT):
            async for _ in lines:
                pass


def parse(line: str) -> dict[str, object]:
    """Parse one line of a stream.

    Raises:
        ModelFailed: it is no JSON object.

    """
    try:
        data = json.loads(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        msg = "the model's server sent a malformed answer"
        raise ModelFailed(msg, retryable=False)
    return data


def complaint(error: object) -> tuple[str, str, int]:
    """Return (message, code, status) of an ``error`` member in either protocol's shape; status 500 if it names none."""
    if not isinstance(error, dict):
        return str(error), "", 500
    code, status = error.get("code"), error.get("status")
    number = next((n for n in (code, status) if isinstance(n, int) and 400 <= n < 600), 500)  # noqa: PLR2004 (HTTP)
    return str(error.get("message") or ""), str(code or error.get("type") or ""), number


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    """Name what happens before the answer's head."""
    try:
        yield
    except (httpx.ConnectTimeout, httpx.ConnectError, httpx.PoolTimeout) as exc:
        raise ModelUnavailable(_why_unreachable(exc)) from exc
    except httpx.TransportError as exc:
        msg = "the model's server closed the connection without an answer"
        raise ModelUnavailable(msg, detail=type(exc).__name__) from exc


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Name what happens within the answer's body."""
    try:
        yield
    except httpx.TransportError as exc:
        msg = "the connection to the model's server was lost within its answer"
        raise ModelFailed(msg, detail=type(exc).__name__) from exc
    except (httpx.DecodingError, UnicodeDecodeError):
        msg = "the model's server sent a malformed answer"
        raise ModelFailed(msg, retryable=False) from None


def _why_unreachable(exc: BaseException) -> str:
    if isinstance(exc, httpx.TimeoutException):
        return "the model's server did not accept the connection in time"
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "no secure connection to the model's server: its certificate or protocol is not accepted"
        if isinstance(cause, socket.gaierror):
            return "the name of the model's server is not known (DNS)"
        cause = cause.__cause__ or cause.__context__
    return "the model's server cannot be reached"


async def _beginning(response: httpx.Response) -> bytes:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) >= ERROR_BYTES:
            break
    return body[:ERROR_BYTES]


def _what_it_says(body: bytes) -> tuple[str, str]:
    """Return (message, code) of an error's body: OpenAI's shape, Ollama's, or whatever it is."""
    text = body.decode(errors="replace")
    try:
        data = json.loads(text)
    except ValueError:
        return text, ""
    if isinstance(data, dict) and data.get("error"):
        message, code, _ = complaint(data["error"])
        return message, code
    return text, ""


async def _split(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split at line feeds only; `str.splitlines` knows ten more places, some of them legal within JSON."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line := line.strip(b"\r"):
                yield line
        if len(rest) > LONGEST_LINE:
            msg = "the model's server sent a malformed answer"
            raise ModelFailed(msg, retryable=False)
    if rest.strip():
        yield rest
