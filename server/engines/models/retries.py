"""The one retry policy for calls of a model: before the first token, never past the deadline."""

from __future__ import annotations

import asyncio
import random

from server.engines.models.errors import ModelBusy, ModelFailed, ModelRateLimited, ModelUnavailable

MAX_WAIT = 20.0
"""Longest pause before a retry, in seconds; if the provider asks for a longer one, there is no retry."""


class Again:
    """stamina's back-off hook for one request: decides whether to retry, and when.

    A provider's ``Retry-After`` is honoured up to ``longest`` seconds; else the pause doubles each time. No wait goes
    past ``deadline``, in the event loop's time.
    """

    def __init__(self, backoff: float, *, deadline: float, longest: float = MAX_WAIT) -> None:
        self._backoff = backoff
        self._deadline = deadline
        self._longest = longest

    def __call__(self, error: Exception) -> bool | float:
        """Return the seconds to wait, or False."""
        if not isinstance(error, ModelUnavailable | ModelFailed) or isinstance(error, ModelBusy):
            return False
        asked = (error.wait or 0.0) if isinstance(error, ModelRateLimited) else 0.0
        wait = asked + self._backoff * random.uniform(0.5, 1)  # noqa: S311 (spreads tries, keeps no secret)
        self._backoff *= 2
        in_time = asked <= self._longest and asyncio.get_running_loop().time() + wait < self._deadline
        return wait if error.retryable and in_time else False
