"""Requests a minute of whoever asks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from cachetools import LRUCache

from config.errors import FootnoteError
from config.settings import LimitSettings
from config.telemetry.metrics import LIMIT_REFUSALS
from server.errors import RateLimited
from server.limits.effective import Asking, EffectiveLimits, asking
from server.waiting.background import Background
from storage.access.rates import Rate, Rates, Taken

NO_TENANT = ""
REMEMBERED = 4096
"""Holders whose refusals are remembered."""
REMEMBERED_SECONDS = 1.0
"""For so long a refusal is repeated without asking the database, which a flood of requests would else wear down."""
IDLE_SECONDS = 600.0
"""Between two times of forgetting a tenant's idle holders."""

_Holder = tuple[str, str, str]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Admission:
    """How a request's rates stand, none where none is limited; `error` is None where it is admitted."""

    taken: Sequence[Taken] = ()
    error: RateLimited | None = None


FREE = Admission()


class RequestRates:
    """Counts requests, on all workers together."""

    def __init__(self, rates: Rates, *, limits: EffectiveLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = rates
        self._limits = limits
        self._clock = clock
        self._refused: LRUCache[_Holder, float] = LRUCache(REMEMBERED)
        self._tidied: LRUCache[str, float] = LRUCache(REMEMBERED)
        self._tidying = Background("idle rates were not forgotten")

    async def take(self) -> Admission:
        """Count a request of the current caller's.

        Where the database does not answer, it is admitted: it will hardly be answered, and limits keep nobody's data.
        """
        who = asking()
        if who.tenant == NO_TENANT:
            return FREE
        rates = rates_of(await self._limits.of(who), who)
        if not rates:
            return FREE
        if refusal := self._known_refusal(who, rates):
            return _refused([refusal])
        try:
            taken = await self._rates.take(who.tenant, rates)
        except FootnoteError as error:
            _log.warning("a request was not counted", error=type(error).__name__)
            return FREE
        self._tidy(who.tenant)
        if not any(each.wait for each in taken):
            return Admission(taken)
        for each in taken:
            if each.wait:
                self._refused[_holder(who, each.rate)] = self._clock() + min(each.wait, REMEMBERED_SECONDS)
        return _refused(taken)

    async def close(self) -> None:
        """Wait for what runs beside requests."""
        await self._tidying.close(seconds=1)

    def _known_refusal(self, who: Asking, rates: Sequence[Rate]) -> Taken | None:
        for rate in rates:
            left = self._refused.get(_holder(who, rate), 0.0) - self._clock()
            if left > 0:
                return Taken(rate, 0, next=left, wait=left)
        return None

    def _tidy(self, tenant: str) -> None:
        now = self._clock()
        if now - self._tidied.setdefault(tenant, now) < IDLE_SECONDS:
            return
        self._tidied[tenant] = now
        self._tidying.start(self._rates.forget_idle(tenant))


def rates_of(limits: LimitSettings, who: Asking) -> list[Rate]:
    """Return the rates that hold for a caller."""
    rates: list[Rate] = []
    if limits.key_requests is not None and who.key is not None:
        rates.append(Rate("key", who.key.id, limits.key_requests))
    if limits.subject_requests is not None:
        rates.append(Rate("subject", who.subject, limits.subject_requests))
    if limits.tenant_requests is not None:
        rates.append(Rate("tenant", "", limits.tenant_requests))
    return rates


def _holder(who: Asking, rate: Rate) -> _Holder:
    return who.tenant, rate.scope, rate.holder


def _refused(taken: Sequence[Taken]) -> Admission:
    longest = max(taken, key=lambda each: each.wait)
    LIMIT_REFUSALS.add(1, {"footnote.limit": "requests", "footnote.scope": longest.rate.scope})
    rate = longest.rate
    detail = f"the {rate.scope} has at most {rate.most} requests a minute"
    return Admission(taken, RateLimited(detail, retry_after=max(1, math.ceil(longest.wait))))
