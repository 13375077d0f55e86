"""The process's link to Redis: one connection pool and one circuit breaker, for streams and question vectors alike."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from config.settings import RedisSettings, SettingsError

ERRORS: Final = (RedisError, OSError, TimeoutError)
"""What a Redis call may raise."""

WAIT_SECONDS = 2.0
"""Timeout for connecting, and for a reply."""

OPEN_SECONDS = 5.0
"""How long the breaker stays open after a failure."""

MAX_CONNECTIONS = 32
MAX_PENDING = 64
"""Optional calls in flight above which further background writes are dropped."""

CLOSE_SECONDS = 0.5
CONSEQUENCE = "questions are embedded here, and other replicas cannot resume this one's streams"
_log = structlog.get_logger(__name__)


class RedisLink:
    """Redis, as the whole process uses it. Create it inside the event loop that uses it; close it at the end.

    While the breaker is open, optional calls (`ask`, `send`) are not made: an unreachable Redis costs a question one
    timeout in `OPEN_SECONDS`. Streams cannot do without Redis and retry at their own pace through `client`; they report
    what happened through an `Outage`, which opens the same breaker.

    Attributes:
        client: for calls that are not optional.
        trouble: why the last call failed; None if Redis works, as far as is known.

    """

    def __init__(self, settings: RedisSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare the client; Redis itself need not be reachable.

        Raises:
            SettingsError: `settings.url` is not an address of Redis.

        """
        assert settings.url is not None  # noqa: S101 (the caller has checked)
        self.client = _connect(settings.url.get_secret_value())
        self._seconds = settings.lookup_timeout
        self._clock = clock
        self._open_until = 0.0
        self._calls: set[asyncio.Future[Any]] = set()
        self.trouble: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open."""
        return self._clock() < self._open_until

    def failed(self, error: BaseException) -> None:
        """Open the breaker, unless Redis did answer: then only this one command was refused."""
        if not isinstance(error, ResponseError):
            self.trouble = f"Redis does not answer ({type(error).__name__}); {CONSEQUENCE}"
            self._open_until = self._clock() + OPEN_SECONDS

    def worked(self) -> None:
        """Note a success. An open breaker stays open: a reply within `WAIT_SECONDS` may be too slow for a question."""
        if not self.is_open:
            self.trouble = None

    async def ask(self, call: Callable[[], Awaitable[Any]], *, outage: Outage) -> object | None:
        """Return the result of an optional call; None if it failed, timed out, or the breaker is open."""
        if self.is_open:
            return None
        try:
            answer = await self._within_timeout(call)
        except ERRORS as exc:
            outage.noticed(exc)
            return None
        outage.over()
        return answer

    def send(self, call: Callable[[], Awaitable[Any]], *, outage: Outage) -> None:
        """Make an optional call in the background; drop it if too many are in flight, or the breaker is open."""
        if len(self._calls) < MAX_PENDING and not self.is_open:
            self._start(self.ask(call, outage=outage))

    async def ping(self) -> bool:
        """Tell whether Redis answers now, even if the breaker is open."""
        self._open_until = 0.0
        try:
            await self._within_timeout(self.client.ping)
        except ERRORS as exc:
            self.failed(exc)
            self.trouble = self.trouble or f"Redis refuses a PING ({type(exc).__name__})"
            return False
        self.worked()
        return True

    async def close(self) -> None:
        """Cancel optional calls and close the connections."""
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=CLOSE_SECONDS)
        with contextlib.suppress(*ERRORS):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.client.aclose()

    async def _within_timeout(self, call: Callable[[], Awaitable[Any]]) -> object:
        # a task of its own: redis-py waits by `asyncio.wait_for`, which may swallow a cancellation (Python 3.11)
        asking = self._start(call())
        try:
            await asyncio.wait({asking}, timeout=self._seconds)
            if not asking.done():
                raise TimeoutError
            result: object = asking.result()
        finally:
            asking.cancel()
        return result

    def _start(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        call = asyncio.ensure_future(work)
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return call

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # marks it as retrieved: a call that was given up has nobody left to raise it to


class Outage:
    """Logs once that one use of Redis fails, and once that it works again.

    Attributes:
        failing: whether the last attempt failed.

    """

    def __init__(self, link: RedisLink, consequence: str) -> None:
        self._link = link
        self._consequence = consequence
        self.failing = False

    def noticed(self, error: BaseException) -> None:
        """Note that an attempt failed."""
        if not self.failing:
            _log.warning("redis failed", consequence=self._consequence, error=_reason(error))
        self.failing = True
        self._link.failed(error)

    def over(self) -> None:
        """Note that an attempt succeeded."""
        if self.failing:
            _log.info("redis works again", after=self._consequence)
        self.failing = False
        self._link.worked()


@contextlib.asynccontextmanager
async def open_redis_link(settings: RedisSettings) -> AsyncIterator[RedisLink]:
    """Open the link to Redis, which the settings have to name.

    Raises:
        SettingsError: `settings.url` is not an address of Redis.

    """
    link = RedisLink(settings)
    try:
        yield link
    finally:
        await link.close()


def _connect(url: str) -> Redis:
    """Return a client that is not yet connected and never retries.

    Replies of XREAD, XRANGE and XREVRANGE come as Redis sends them: lists, where redis-py would make dicts of an
    entry's fields.
    """
    try:
        options: dict[str, Any] = {
            **parse_url(url),
            "protocol": 2,
            "decode_responses": False,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": WAIT_SECONDS,
            "socket_connect_timeout": WAIT_SECONDS,
            "max_connections": MAX_CONNECTIONS,
            "timeout": WAIT_SECONDS,  # for a free connection
        }
        pool = BlockingConnectionPool(**options)
        # fails on an unknown option, which would otherwise show at the first connection
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (RedisError, TypeError, ValueError):
        msg = "FOOTNOTE_REDIS__URL: not an address of Redis, like redis://host:6379/0"
        raise SettingsError(msg) from None  # the causes quote the address
    client = Redis.from_pool(pool)
    for command in ("XREAD", "XRANGE", "XREVRANGE"):
        client.set_response_callback(command, _as_it_is)
    return client


def _as_it_is(response: Any, **kwargs: Any) -> Any:  # noqa: ANN401, ARG001 (redis-py's signature)
    return response


def _reason(error: BaseException) -> str:
    """Return the error's class, and Redis's own code if it gave one (OOM, NOPERM); the rest may quote anything."""
    code = re.search(r"\b[A-Z]{3,12}\b", str(error)) if isinstance(error, ResponseError) else None
    return f"{type(error).__name__} {code[0]}" if code else type(error).__name__
