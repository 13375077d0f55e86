"""Opening what limits requests, and closing it when nothing runs any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from server.limits.budgets import Budgets
from server.limits.effective import EffectiveLimits, asking
from server.limits.overview import LimitsOfCaller
from server.limits.quotas import Quotas
from server.limits.rates import RequestRates
from server.limits.streams import StreamSlots
from storage.access.open_streams import OpenStreams
from storage.access.rates import Rates
from storage.access.spending import Spending
from storage.access.tenant_limits import TenantLimits
from storage.access.usage import UsageRecord

if TYPE_CHECKING:
    from config.settings import LimitSettings, Settings
    from storage.database import Database

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenLimits:
    """What limits requests, streams, calls of models and uploads."""

    settings: LimitSettings
    effective: EffectiveLimits
    requests: RequestRates
    streams: StreamSlots
    budgets: Budgets
    quotas: Quotas
    of_caller: LimitsOfCaller
    usage: UsageRecord

    async def without_key(self) -> LimitSettings:
        """Return the limits of the current caller, apart from those of its key."""
        return await self.effective.of_tenant(asking())

    def warn_of_unpriced(self, model: str, *, is_priced: bool) -> None:
        """Log it where a budget in US dollars is set that no call will ever be counted in."""
        in_dollars = [name for name, most in self.settings if "_usd_" in name and most is not None]
        if in_dollars and not is_priced:
            _log.warning("the price table lacks the model, so that budgets in US dollars do not hold", model=model)


@asynccontextmanager
async def open_limits(
    settings: Settings, database: Database, *, longest_call: float, count: Callable[[str], int]
) -> AsyncIterator[OpenLimits]:
    """Open everything that limits; see `Budgets` for the arguments."""
    limits = EffectiveLimits(settings.limits, TenantLimits(database))
    spending = Spending(database)
    opened = OpenLimits(
        settings=settings.limits,
        effective=limits,
        requests=RequestRates(Rates(database), limits=limits),
        streams=StreamSlots(OpenStreams(database), limits=limits, longest=settings.streams.total_timeout),
        budgets=Budgets(spending, limits=limits, longest_call=longest_call, count=count),
        quotas=Quotas(limits=limits),
        of_caller=LimitsOfCaller(spending, limits=limits),
        usage=UsageRecord(database),
    )
    try:
        yield opened
    finally:
        await opened.streams.close()
        await opened.budgets.close()
        await opened.requests.close()
