"""Budgets for language models: whoever asks pays for the calls that its questions make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

import structlog
from cachetools import LRUCache

from config.errors import FootnoteError
from config.settings import LimitSettings
from config.telemetry.metrics import LIMIT_REFUSALS
from server.errors import BudgetExhausted
from server.limits.effective import EffectiveLimits, asking
from server.limits.periods import Clock, renewal, seconds_until, utc_now
from server.limits.usage_buffer import CLOSING_SECONDS, PAUSES, UsageBuffer
from server.waiting.background import Background
from storage.access.rates import Scope
from storage.access.spending import Budget, Exhausted, Payer, Period, Spending, Tally, Used

SCOPES: tuple[Scope, ...] = ("key", "subject", "tenant")
PERIODS: tuple[Period, ...] = ("day", "month")
UNITS = {"tokens": "tokens", "usd": "US dollars"}
MARGIN = 60.0
"""Seconds beyond the longest call after which its reservation expires."""
SETTLING_SECONDS = 1.0
"""For so long an answer's end waits until it is counted; then that goes on behind it."""
RESERVED_RETRY = 5
KEPT_PERIODS = 70
"""Days for which accounts are kept: this month's, and last month's for calls that began in it."""
TENANTS = 4096

_collection: ContextVar[str] = ContextVar("the collection that the current task asks", default="")
_log = structlog.get_logger(__name__)


def asking_about(collection: str) -> None:
    """Let the calls of this task, from now on, be counted for a collection."""
    _collection.set(collection)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call that may be made; `id` is None where no budget is set."""

    payer: Payer
    collection: str
    id: UUID | None = None


class Budgets:
    """Reserves before a call, settles after it."""

    def __init__(
        self,
        spending: Spending,
        *,
        limits: EffectiveLimits,
        longest_call: float,
        count: Callable[[str], int],
        clock: Clock = utc_now,
    ) -> None:
        """Take the seconds that a call lasts at the most, and how tokens of a text are estimated."""
        self.count = count
        self._spending = spending
        self._limits = limits
        self._seconds = longest_call + MARGIN
        self._clock = clock
        self._settling = Background("a call of a model was not counted")
        self._buffer = UsageBuffer(self._recorded)
        self._tidied: LRUCache[str, object] = LRUCache(TENANTS)

    async def reserve(self, *, tokens: int, usd: float) -> Reservation:
        """Reserve what a call of the current caller's may use.

        Raises:
            BudgetExhausted: nothing is left of a budget.
            StoreUnavailable: the database does not answer, so that nobody knows whether something is left.

        """
        who = asking()
        payer = Payer(who.tenant, who.subject, who.key.id if who.key else "", self._clock().date())
        budgets = budgets_of(await self._limits.of(who))
        if not budgets:
            return Reservation(payer, _collection.get())

        async def undo(made: UUID | Exhausted) -> None:
            if isinstance(made, UUID):
                await self._spending.release(payer, made)

        reserving = self._spending.reserve(payer, budgets, tokens=tokens, usd=usd, seconds=self._seconds)
        made = await self._settling.undone_if_cancelled(reserving, undo=undo)
        if isinstance(made, Exhausted):
            raise self._refusal(made, payer)
        return Reservation(payer, _collection.get(), made)

    async def settle(self, reservation: Reservation, used: Used | None) -> None:
        """Count what a call has used, None: nothing; a failure is logged, and no reason to lose an answer."""
        task = self.settle_later(reservation, used)
        if task is not None:
            await asyncio.wait({task}, timeout=SETTLING_SECONDS)

    def settle_later(self, reservation: Reservation, used: Used | None) -> asyncio.Task[None] | None:
        """Count what a call has used where nothing can be awaited; None: together with others, soon."""
        tally = None if used is None else Tally.of(used, collection=reservation.collection)
        if reservation.id is not None:
            return self._settling.start(self._settled(reservation.payer, reservation.id, tally))
        if tally is not None:
            self._buffer.add(reservation.payer, tally)
        return None

    async def flush(self) -> None:
        """Wait until the calls of this process that have ended are counted, for a second at the most."""
        await self._buffer.flush(seconds=SETTLING_SECONDS)

    async def close(self) -> None:
        """Wait until every call is counted."""
        await self._buffer.close()
        await self._settling.close(seconds=CLOSING_SECONDS)

    async def _settled(self, payer: Payer, reservation: UUID, tally: Tally | None) -> None:
        is_counted = False
        try:
            for pause in PAUSES:
                await asyncio.sleep(pause)
                if is_counted := await self._is_counted(payer, reservation, tally):
                    await self._tidy(payer)
                    return
        finally:
            if not is_counted and tally is not None:
                _log.error("a call of a model was not counted", tokens=tally.tokens, cost_usd=float(tally.usd))

    async def _is_counted(self, payer: Payer, reservation: UUID, tally: Tally | None) -> bool:
        try:
            if tally is None:
                await self._spending.release(payer, reservation)
            else:
                await self._spending.settle(payer, tally, reservation=reservation)
        except FootnoteError as error:
            _log.warning("a call of a model is not counted yet", error=type(error).__name__)
            return False
        return True

    async def _recorded(self, payer: Payer, tallies: Sequence[Tally]) -> None:
        await self._spending.record(payer, tallies)
        await self._tidy(payer)

    async def _tidy(self, payer: Payer) -> None:
        """Forget old accounts, once a day."""
        if self._tidied.get(payer.tenant) != payer.day:
            self._tidied[payer.tenant] = payer.day
            await self._spending.forget_old(payer, days=KEPT_PERIODS)

    def _refusal(self, found: Exhausted, payer: Payer) -> BudgetExhausted:
        LIMIT_REFUSALS.add(1, {"footnote.limit": "budget", "footnote.scope": found.scope})
        what = f"the {found.scope}'s budget of {UNITS[found.unit]} for a {found.period}"
        if found.by_reservations:
            detail = f"{what} is reserved to its end by answers that are being written; try again shortly"
            return BudgetExhausted(detail, retry_after=RESERVED_RETRY, retryable=True)
        renews = renewal(found.period, payer.day)
        wait = seconds_until(renews, self._clock())
        detail = f"{what} is spent; it is renewed at {renews:%Y-%m-%dT%H:%M:%SZ}"
        return BudgetExhausted(detail, retry_after=wait, retryable=False)


def budgets_of(limits: LimitSettings) -> list[Budget]:
    """Return the budgets that are set."""
    found = [
        Budget(scope, period, getattr(limits, f"{scope}_tokens_{period}"), getattr(limits, f"{scope}_usd_{period}"))
        for scope in SCOPES
        for period in PERIODS
    ]
    return [budget for budget in found if budget.tokens is not None or budget.usd is not None]
