"""What the two halves of the Redis relay share: the client, the layout of the keys, the account of outages.

A stream is a Redis stream, ``footnote:stream:{id}``. An entry holds consecutive frames; its id is the number of the
last of them, each of its fields is a frame, and the name of the fields says who wrote it: the process, and whether the
entry ends the stream. (Redis stores names once where entries have the same ones, so they cost no memory.) An entry
numbered `MARK` says that nothing more comes: the stream was forgotten, or a frame of it was lost on the way.
"""

from __future__ import annotations

import re
from typing import Any, Final

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from config.settings import SettingsError

ERRORS: Final = (RedisError, OSError, TimeoutError)
"""What a call of Redis may raise."""

WAIT_SECONDS = 2.0
"""How long Redis may take to answer, or to let us connect."""

RETRY_SECONDS = 0.5
"""How long to leave Redis alone after it failed."""

MOST_CONNECTIONS = 16
MARK: Final = 2**53
ENDS: Final = b"."
_log = structlog.get_logger(__name__)


def stream_key(stream_id: str) -> str:
    """Return where a stream's frames are."""
    return f"footnote:stream:{stream_id}"


def reader_key(stream_id: str) -> str:
    """Return the key that lives while somebody follows a stream from another process."""
    return f"footnote:reader:{stream_id}"


def owner_key(process: str) -> str:
    """Return the key that lives while a process does."""
    return f"footnote:owner:{process}"


def connect(url: str) -> Redis:
    """Return a client, not yet connected, that waits `WAIT_SECONDS` at the most and tries nothing twice.

    Replies of XREAD and XRANGE come as Redis sends them: lists, where redis-py would make dicts of an entry's fields.

    Raises:
        SettingsError: the address has an option that there is not, or a port that is no number.

    """
    try:
        options: dict[str, Any] = {
            **parse_url(url),
            "protocol": 2,
            "decode_responses": False,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": WAIT_SECONDS,
            "socket_connect_timeout": WAIT_SECONDS,
            "max_connections": MOST_CONNECTIONS,
            "timeout": WAIT_SECONDS,  # for a free connection
        }
        pool = BlockingConnectionPool(**options)
        # shows an option that there is not, which would else show at the first connection
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (RedisError, TypeError, ValueError):
        msg = "FOOTNOTE_STREAMS__REDIS_URL: not an address of Redis, like redis://host:6379/0"
        raise SettingsError(msg) from None  # the causes quote the address
    client = Redis.from_pool(pool)
    for command in ("XREAD", "XRANGE"):
        client.set_response_callback(command, _as_it_is)
    return client


def _as_it_is(response: Any, **kwargs: Any) -> Any:  # noqa: ANN401, ARG001 (redis-py's signature)
    return response


class Outage:
    """Logs once that Redis fails, and once that it works again.

    Attributes:
        failing: whether the last attempt failed.

    """

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence
        self.failing = False

    def noticed(self, error: BaseException) -> None:
        """Note that an attempt failed."""
        if not self.failing:
            _log.warning("redis failed", consequence=self._consequence, error=_reason(error))
        self.failing = True

    def over(self) -> None:
        """Note that an attempt succeeded."""
        if self.failing:
            _log.info("redis works again", after=self._consequence)
        self.failing = False


def _reason(error: BaseException) -> str:
    """Return the error's class, and Redis's own code where it gave one (OOM, NOPERM); the rest may quote anything."""
    code = re.search(r"\b[A-Z]{3,12}\b", str(error)) if isinstance(error, ResponseError) else None
    return f"{type(error).__name__} {code[0]}" if code else type(error).__name__
