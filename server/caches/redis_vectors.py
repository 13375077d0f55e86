"""Vectors of questions in Redis, which replicas share. It may be slow, away, or hold anything: no question minds.

Under ``footnote:question:{fingerprint}:{hash}`` is a CRC-32, then the numbers, float32, little-endian both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from config.settings import CacheSettings, SettingsError
from config.telemetry.metrics import CACHE_LOOKUPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.generation import EmbeddingIdentity

REST_SECONDS = 5.0
"""How long Redis is left alone after it failed or was slow: a dead one costs one wait in so many seconds."""

MOST_WRITES = 64
"""Writes on their way at once; more are left out."""

CHECKSUM = 4
MOST_CONNECTIONS = 16
HANG_UP_SECONDS = 0.5
LENGTH_TOLERANCE = 1e-3
_ERRORS = (RedisError, OSError, TimeoutError)
_log = structlog.get_logger(__name__)


class RedisVectors:
    """`SharedVectors` in Redis. Make it inside the event loop that it lives in, and close it at the end.

    Attributes:
        trouble: why it is left alone; None where it works, as far as is known.

    """

    def __init__(self, settings: CacheSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare the client; Redis itself need not be there.

        Raises:
            SettingsError: the address cannot be one of Redis.

        """
        assert settings.redis_url is not None  # noqa: S101 (who makes this has looked)
        self._redis = _connect(settings.redis_url.get_secret_value(), seconds=settings.redis_timeout)
        self._seconds = settings.redis_timeout
        self._kept_ms = int(settings.redis_ttl * 1000)
        self._clock = clock
        self._rests_until = 0.0
        self._calls: set[asyncio.Future[Any]] = set()
        self.trouble: str | None = None

    async def find(self, key: str, identity: EmbeddingIdentity) -> NDArray[np.float32] | None:
        """See `SharedVectors.find`."""
        # one byte more than there should be is enough to see that something else is there, however long it is
        content = await self._asked(lambda: self._redis.getrange(_name(key), 0, CHECKSUM + 4 * identity.dimension))
        vector = vector_in(content, identity) if isinstance(content, bytes) and content else None
        if content and vector is None:
            _log.warning("redis holds what is no vector", fingerprint=identity.fingerprint)
        labels = {"footnote.cache": "questions_redis", "footnote.result": "miss" if vector is None else "hit"}
        CACHE_LOOKUPS.add(1, labels)
        return vector

    def keep(self, key: str, vector: NDArray[np.float32]) -> None:
        """See `SharedVectors.keep`."""
        if len(self._calls) < MOST_WRITES and not self._rests:
            content = bytes_of(vector)
            self._start(self._asked(lambda: self._redis.set(_name(key), content, px=self._kept_ms)))

    async def ping(self) -> bool:
        """Look whether Redis answers now."""
        self._rests_until = 0.0
        return await self._asked(self._redis.ping) is not None

    async def close(self) -> None:
        """Give up what is under way and let the connections go."""
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=HANG_UP_SECONDS)
        with contextlib.suppress(*_ERRORS):
            async with asyncio.timeout(HANG_UP_SECONDS):
                await self._redis.aclose()

    @property
    def _rests(self) -> bool:
        return self._clock() < self._rests_until

    async def _asked(self, call: Callable[[], Any]) -> object | None:
        """Return what a call gives, or None: it failed, took too long, or was not made."""
        if self._rests:
            return None
        # a task of its own: redis-py waits by `asyncio.wait_for`, which may swallow a cancellation (Python 3.11)
        asking = self._start(call())
        try:
            await asyncio.wait({asking}, timeout=self._seconds)
            if not asking.done():
                raise TimeoutError
            answer: object | None = asking.result()
        except ResponseError as exc:  # it answers, but not with that: something else is there, or no room
            self._failed(exc, rests=False)
            return None
        except _ERRORS as exc:
            self._failed(exc, rests=True)
            return None
        finally:
            asking.cancel()
        if self.trouble is not None:
            _log.info("redis works again")
        self.trouble, self._rests_until = None, 0.0
        return answer

    def _start(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        call = asyncio.ensure_future(work)
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return call

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # it has been told to who asked; nobody asks for that of one which was given up

    def _failed(self, error: BaseException, *, rests: bool) -> None:
        if self.trouble is None:
            _log.warning("redis failed", consequence="questions are embedded here", error=type(error).__name__)
        self.trouble = f"Redis does not answer ({type(error).__name__}); questions are embedded here"
        if rests:
            self._rests_until = self._clock() + REST_SECONDS


def bytes_of(vector: NDArray[np.float32]) -> bytes:
    """Return a vector as it is kept."""
    numbers = vector.astype("<f4").tobytes()
    return zlib.crc32(numbers).to_bytes(CHECKSUM, "little") + numbers


def vector_in(content: bytes, identity: EmbeddingIdentity) -> NDArray[np.float32] | None:
    """Return the vector that was kept; None where this model cannot have made what is there."""
    checksum, numbers = content[:CHECKSUM], content[CHECKSUM:]
    if len(numbers) != 4 * identity.dimension or zlib.crc32(numbers).to_bytes(CHECKSUM, "little") != checksum:
        return None
    vector = np.frombuffer(numbers, dtype="<f4").astype(np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(length) or length == 0 or (identity.normalized and abs(length - 1) > LENGTH_TOLERANCE):
        return None
    return vector


@contextlib.asynccontextmanager
async def open_redis_vectors(settings: CacheSettings) -> AsyncIterator[RedisVectors | None]:
    """Lend vectors in the Redis of the settings; None where they name none.

    Raises:
        SettingsError: the address cannot be one of Redis.

    """
    if settings.redis_url is None:
        yield None
        return
    vectors = RedisVectors(settings)
    try:
        yield vectors
    finally:
        await vectors.close()


def _name(key: str) -> str:
    return f"footnote:question:{key}"


def _connect(url: str, *, seconds: float) -> Redis:
    try:
        options: dict[str, Any] = {
            **parse_url(url),
            "protocol": 2,
            "decode_responses": False,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "max_connections": MOST_CONNECTIONS,
            "timeout": seconds,  # for a free connection
        }
        pool = BlockingConnectionPool(**options)
        # shows an option that there is not, which would else show at the first connection
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (RedisError, TypeError, ValueError):
        msg = "FOOTNOTE_CACHE__REDIS_URL: not an address of Redis, like redis://host:6379/0"
        raise SettingsError(msg) from None  # the causes quote the address
    return Redis.from_pool(pool)
