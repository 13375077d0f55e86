"""The limits of whoever asks, and how its budgets stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from server.limits.budgets import budgets_of
from server.limits.effective import EffectiveLimits, asking
from server.limits.periods import Clock, renewal, utc_now
from server.limits.rates import rates_of
from storage.access.rates import Scope
from storage.access.spending import Payer, Period, Spending

if TYPE_CHECKING:
    from config.settings import LimitSettings


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget; what is reserved counts as spent until the calls have ended. None: no bound in that unit."""

    scope: Scope
    period: Period
    renews_at: datetime
    tokens: int | None
    usd: float | None
    spent_tokens: int
    spent_usd: float


@dataclass(frozen=True, slots=True)
class LimitsOverview:
    """What limits whoever asks.

    Attributes:
        requests_a_minute: by scope: ``key``, ``subject``, ``tenant``.
        quotas: the other limits that are set, by their settings' names.

    """

    requests_a_minute: dict[str, int]
    quotas: dict[str, int]
    budgets: list[BudgetState]


QUOTAS = (
    "key_streams",
    "subject_streams",
    "tenant_uploads",
    "tenant_upload_bytes",
    "tenant_documents",
    "tenant_chunks",
)


class LimitsOfCaller:
    """Describes limits; `GET /me` shows them."""

    def __init__(self, spending: Spending, *, limits: EffectiveLimits, clock: Clock = utc_now) -> None:
        self._spending = spending
        self._limits = limits
        self._clock = clock

    async def overview(self) -> LimitsOverview:
        """Return the limits of the current caller; raises `FootnoteError` where the database does not answer."""
        who = asking()
        limits = await self._limits.of(who)
        payer = Payer(who.tenant, who.subject, who.key.id if who.key else "", self._clock().date())
        return LimitsOverview(
            requests_a_minute={rate.scope: rate.most for rate in rates_of(limits, who)},
            quotas={name: most for name in QUOTAS if (most := getattr(limits, name)) is not None},
            budgets=await self._budgets(limits, payer),
        )

    async def _budgets(self, limits: LimitSettings, payer: Payer) -> list[BudgetState]:
        budgets = [budget for budget in budgets_of(limits) if budget.scope != "key" or payer.key]
        if not budgets:
            return []
        accounts = {(each.scope, each.period): each for each in await self._spending.accounts(payer)}
        states = []
        for budget in budgets:
            account = accounts.get((budget.scope, budget.period))
            states.append(
                BudgetState(
                    budget.scope,
                    budget.period,
                    renewal(budget.period, payer.day),
                    budget.tokens,
                    budget.usd,
                    account.tokens + account.reserved_tokens if account else 0,
                    account.usd + account.reserved_usd if account else 0.0,
                )
            )
        return states
