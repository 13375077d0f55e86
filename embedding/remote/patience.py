"""When a request is made again, and when none is made: rate, retries, breaker."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from embedding.errors import EmbeddingUnavailable

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
LONGEST_RETRY_AFTER = 300.0
"""Seconds; a provider that asks for a longer pause is not waited for."""
BREAKER_FAILURES, BREAKER_SECONDS = 5, 10.0

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Rate:
    """Spaces requests evenly."""

    def __init__(self, per_minute: int | None) -> None:
        self._pause = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may begin."""
        now = time.monotonic()
        begin = max(now, self._next)
        self._next = begin + self._pause
        if begin > now:
            await asyncio.sleep(begin - now)


async def retried(
    call: Callable[[], Awaitable[T]],
    *,
    most: int,
    until: float = math.inf,
    but: type[EmbeddingUnavailable] | None = None,
) -> T:
    """Call again what failed in a way that may pass, up to `most` times; a ``Retry-After`` is honoured.

    No pause goes past `until`, in `time.monotonic`: the failure says more than that there was no time. A failure of the
    kind `but` is raised at once.

    Raises:
        EmbeddingUnavailable: of the last try.

    """
    pause = FIRST_PAUSE
    for _ in range(most):
        try:
            return await call()
        except EmbeddingUnavailable as exc:
            if but is not None and isinstance(exc, but):
                raise
            wait = (exc.retry_after or 0.0) + pause * random.uniform(0.5, 1)  # noqa: S311 (spreads tries)
            if not exc.retryable or wait > LONGEST_RETRY_AFTER or time.monotonic() + wait >= until:
                raise
            _log.info("an embedding request is tried again", error=str(exc), retry_after=exc.retry_after)
        await asyncio.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)
    return await call()


class QuestionBreaker:
    """Refuses questions for a while after several failed in a row; then one tries.

    Attributes:
        reason: of the last failure; None once a call succeeded.

    """

    def __init__(self, *, failures: int = BREAKER_FAILURES, seconds: float = BREAKER_SECONDS) -> None:
        self.reason: str | None = None
        self._most = failures
        self._seconds = seconds
        self._failures = 0
        self._due = 0.0

    def admit(self) -> bool:
        """Let a call through; return whether it is the one that tries.

        Raises:
            EmbeddingUnavailable: not now; `retry_after` says when.

        """
        if self._failures < self._most:
            return False
        left = self._due - time.monotonic()
        if left > 0:
            msg = f"{self.reason}, {self._failures} times in a row; it is asked again in {math.ceil(left)} s"
            raise EmbeddingUnavailable(msg, retry_after=math.ceil(left))
        self._due = time.monotonic() + self._seconds  # the others wait for this one's outcome
        return True

    def left(self) -> None:
        """Let the next call try: the one that did was given up by its caller."""
        self._due = time.monotonic()

    def failed(self, error: EmbeddingUnavailable) -> None:
        """Count a failure."""
        self.reason = str(error)
        self._failures += 1
        if self._failures >= self._most:
            self._due = time.monotonic() + self._seconds

    def succeeded(self) -> None:
        """Close it."""
        self.reason = None
        self._failures = 0
