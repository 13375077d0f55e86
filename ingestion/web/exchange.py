"""Requests; a GET's redirects are followed here, and every hop is checked like the first."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpcore

from ingestion.errors import FetchFailed, FetchRefused
from ingestion.web.addresses import AddressRules
from ingestion.web.bodies import ACCEPTED, bounded
from ingestion.web.connections import GuardedBackend, Resolve, open_pool
from ingestion.web.limits import WebLimits
from ingestion.web.urls import Target, read_reference

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; its body can be read once, while it is open.

    Attributes:
        target: of the last hop.
        headers: by lower-case name; repeated ones are joined by a comma.

    """

    target: Target
    status: int
    headers: Mapping[str, str]
    sent: AsyncIterator[bytes]

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset parameter of the content type."""
        found = _CHARSET.search(self.headers.get("content-type", ""))
        return found[1].lower() if found else None

    def blocks(self, *, limit: int) -> AsyncGenerator[bytes, None]:
        """Return the decompressed body; see `ingestion.web.bodies.bounded`."""
        return bounded(self.sent, coding=self.headers.get("content-encoding", "").strip().lower(), limit=limit)


class Exchange:
    """Sends requests over connections to checked addresses.

    Raises:
        ValueError: an entry of `allow_private` is neither a network nor a name.
        OSError: the file with authorities' certificates cannot be read, or holds none.

    """

    def __init__(self, limits: WebLimits, *, user_agent: str, resolve: Resolve) -> None:
        self._limits = limits
        self._user_agent = user_agent
        self._rules = AddressRules(ports=limits.allowed_ports, allow_private=limits.allow_private)
        self._pool = open_pool(GuardedBackend(self._rules, resolve=resolve), ca_file=limits.ca_file)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    @asynccontextmanager
    async def get(
        self,
        target: Target,
        *,
        admit: Callable[[Target], Awaitable[None]],
        headers: Callable[[Target], Mapping[str, str]] = lambda _: {},
    ) -> AsyncIterator[Answer]:
        """Request a page and follow at most five redirects; the response may have any other status.

        Args:
            target: of the first hop.
            admit: awaited before each hop; this wait does not count towards the timeout.
            headers: returns additional headers for a hop.

        Raises:
            FetchRefused: a target is not allowed or not a URL; or there are too many redirects.
            FetchFailed: the site cannot be reached, closes the connection or takes too long.

        """
        hop = target
        try:
            async with asyncio.timeout(self._limits.total_timeout) as timer:
                for _ in range(MAX_REDIRECTS + 1):
                    self._rules.check_target(hop)
                    await _untimed(admit(hop), timer)
                    async with self._ask(hop, headers(hop)) as answer:
                        if answer.status not in _REDIRECTS or "location" not in answer.headers:
                            yield answer
                            return
                    hop = _redirected(answer)
                msg = f"{target.shown} redirects more than {MAX_REDIRECTS} times"
                raise FetchRefused(msg, status=answer.status)
        except TimeoutError as exc:
            msg = f"{hop.shown} took longer than {self._limits.total_timeout:g} seconds"
            raise FetchFailed(msg) from exc
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as exc:
            raise _failure(hop, exc) from exc

    @asynccontextmanager
    async def post(self, target: Target, body: bytes, *, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """Send a body; the response may have any status. A redirect is not followed: it would take the body elsewhere.

        Raises:
            FetchRefused: the target is not allowed.
            FetchFailed: as `get`.

        """
        self._rules.check_target(target)
        try:
            async with asyncio.timeout(self._limits.total_timeout), self._ask(target, headers, body=body) as answer:
                yield answer
        except TimeoutError as exc:
            msg = f"{target.shown} took longer than {self._limits.total_timeout:g} seconds"
            raise FetchFailed(msg) from exc
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as exc:
            raise _failure(target, exc) from exc

    @asynccontextmanager
    async def _ask(
        self, hop: Target, headers: Mapping[str, str], *, body: bytes | None = None
    ) -> AsyncIterator[Answer]:
        url = httpcore.URL(scheme=hop.scheme, host=hop.host, port=hop.port, target=hop.path)
        limits = self._limits
        timeouts = {
            "connect": limits.connect_timeout,
            "read": limits.read_timeout,
            "write": limits.read_timeout,
            "pool": limits.total_timeout,
        }
        sent = {
            "Host": hop.authority,
            "User-Agent": self._user_agent,
            "Accept": "*/*",
            "Accept-Encoding": ACCEPTED,
            **headers,
        }
        method = "GET" if body is None else "POST"
        async with self._pool.stream(
            method, url, headers=[*sent.items()], content=body, extensions={"timeout": timeouts}
        ) as response:
            yield Answer(hop, response.status, _joined(response.headers), response.aiter_stream())


async def _untimed(waiting: Awaitable[None], timer: asyncio.Timeout) -> None:
    """Pause the timeout during the block."""
    loop = asyncio.get_running_loop()
    left = (timer.when() or 0) - loop.time()
    timer.reschedule(None)
    await waiting
    timer.reschedule(loop.time() + left)


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("ascii", "replace").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _redirected(answer: Answer) -> Target:
    hop = read_reference(answer.headers["location"], base=answer.target)
    if answer.target.scheme == "https" and hop.scheme == "http":
        msg = f"{answer.target.shown} redirects from https to http; if that is meant, give the http address itself"
        raise FetchRefused(msg, status=answer.status)
    return hop


def _failure(hop: Target, error: Exception) -> FetchFailed | FetchRefused:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            msg = f"{hop.origin} shows a certificate that is not trusted: {cause.verify_message}"
            return FetchRefused(msg)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpcore.TimeoutException):
        return FetchFailed(f"{hop.shown} did not answer in time")
    if isinstance(error, httpcore.ConnectError):
        return FetchFailed(f"{hop.origin} cannot be connected to")
    return FetchFailed(f"{hop.shown} broke off, or answers in something else than HTTP")
