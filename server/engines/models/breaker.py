"""A circuit breaker in front of a language model: while its provider is down, calls fail at once.

Calls are concurrent on one event loop, and may be cancelled by clients. No library handles that: purgatory, pybreaker,
aiobreaker and circuitbreaker let every call through in the half-open state, count a cancelled trial as a success or
block on it for ever, and let calls that began before the outage decide.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import structlog

from config.telemetry.metrics import Readings
from server.engines.models.errors import ModelBusy, ModelError, ModelRateLimited, ModelRefused

State = Literal["closed", "half_open", "open"]

_log = structlog.get_logger(__name__)


class CircuitBreaker:
    """Refuses calls for `seconds` after `failures` consecutive failures; 0: it never opens.

    After that time one call is the trial; the others are refused until it ends. Success closes the breaker, failure
    opens it again, and after a cancelled trial the next call is the trial. Calls that began before the breaker last
    opened are ignored.

    Use it from one event loop; `state` and `readings` may be read on any thread. ``clock`` is in seconds.
    """

    def __init__(
        self, provider: str, *, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._provider = provider
        self._most = failures
        self._seconds = seconds
        self._clock = clock
        self._failures = 0
        self._reason = ""
        self._due: float | None = None  # when the next trial may begin; None: closed
        self._trying = False
        self._turn = 0  # rises when it opens

    @property
    def state(self) -> State:
        """``half_open``: the next call is the trial, or the trial is under way."""
        if (due := self._due) is None:
            return "closed"
        return "open" if self._clock() < due else "half_open"

    @property
    def refusal(self) -> str | None:
        """Why a call would be refused now, or None; safe to show to clients."""
        if self._due is None or not (self._left or self._trying):
            return None
        when = "being tried again" if self._trying else f"tried again in {self._left} s"
        often = f" {self._failures} times in a row" if self._failures > 1 else ""
        return f"the model failed{often} ({self._reason}); it is {when}"

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Let a call through and count how the block ends; leave it as soon as the model has begun to answer.

        Raises:
            ModelRefused: the call is refused; `retry_after` is the time that is left.

        """
        turn = self._admit()
        try:
            yield
        except BaseException as error:
            self._learn(turn, error)
            raise
        self._learn(turn, None)

    def readings(self) -> Readings:
        """Return 1 for the current state and 0 for the others: see `config.telemetry.metrics.BREAKER_STATE`."""
        current = self.state
        return [
            (float(state == current), {"footnote.breaker": self._provider, "footnote.state": state})
            for state in get_args(State)
        ]

    @property
    def _left(self) -> int:
        """Seconds until the next trial, rounded up."""
        return 0 if self._due is None else max(0, math.ceil(self._due - self._clock()))

    def _admit(self) -> int:
        if refusal := self.refusal:
            raise ModelRefused(refusal, retry_after=self._left) if self._left else ModelRefused(refusal)
        self._trying = self._due is not None
        return self._turn

    def _learn(self, turn: int, error: BaseException | None) -> None:
        if turn != self._turn:
            return
        self._trying = False
        if error is None or _answered(error):
            self._close()
        elif isinstance(error, ModelError) and not isinstance(error, ModelBusy):
            self._count(error)

    def _count(self, error: ModelError) -> None:
        self._failures += 1
        if not self._most or self._failures < self._most:
            return
        if self._due is None:
            _log.warning(
                "model_breaker_opened",
                provider=self._provider,
                failures=self._failures,
                seconds=self._seconds,
                error=type(error).__name__,
            )
        self._reason = str(error)
        self._due = self._clock() + self._seconds
        self._turn += 1

    def _close(self) -> None:
        if self._due is not None:
            _log.info("model_breaker_closed", provider=self._provider, failures=self._failures)
            self._due = None
        self._failures = 0


def _answered(error: BaseException) -> bool:
    """Tell whether the provider answered, though not with text: with a refusal or a rate limit.

    Such an answer says more to the client than an open breaker would. A rate limit names its own pause, and a smaller
    request may still be accepted.
    """
    return isinstance(error, ModelError) and (isinstance(error, ModelRateLimited) or not error.retryable)
