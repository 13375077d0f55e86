"""Budgets: what calls of language models have spent of them, and what those under way may still spend.

A call is *reserved* for before it is made, and *settled* when it has ended. A reservation whose process has died
expires.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID, uuid4

import structlog

from storage.access.names import key_name
from storage.access.rates import Scope
from storage.conflicts import rerun_on_conflict

if TYPE_CHECKING:
    from storage.database import Connection, Database

Period = Literal["day", "month"]
MOST = 10**12
"""Tokens, or US dollars, that one call is counted for at the most: a provider may report anything."""
MODEL_NAME = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Payer:
    """Whom a call is counted for, and the day on which it began; `key` is empty where it came without one."""

    tenant: str
    subject: str
    key: str
    day: date

    def accounts(self) -> list[tuple[Scope, str, Period, date]]:
        """Return (scope, holder, period, its first day) of everything that the call is counted in, in one order."""
        holders: list[tuple[Scope, str]] = [("subject", key_name(self.subject)), ("tenant", "")]
        if self.key:
            holders.insert(0, ("key", key_name(self.key)))
        month = self.day.replace(day=1)
        return [account for who in holders for account in ((*who, "day", self.day), (*who, "month", month))]


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in a period; None: any amount."""

    scope: Scope
    period: Period
    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget that lets no further call begin; `by_reservations`: only because others have reserved what is left."""

    scope: Scope
    period: Period
    unit: Literal["tokens", "usd"]
    by_reservations: bool


@dataclass(frozen=True, slots=True)
class Used:
    """What a call has used; `usd` is None where the price is not known."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What calls of one model about one collection have used together.

    Attributes:
        usd: of the calls whose price was known.
        unpriced_calls: those whose price was not.
        estimated_calls: those whose tokens the provider did not tell.

    """

    model: str
    collection: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: Decimal
    unpriced_calls: int
    estimated_calls: int

    @classmethod
    def of(cls, used: Used, *, collection: str) -> Self:
        """Return one call's."""
        return cls(
            used.model,
            collection,
            1,
            min(max(0, used.prompt_tokens), MOST),
            min(max(0, used.completion_tokens), MOST),
            _decimal(used.usd or 0.0),
            int(used.usd is None),
            int(used.is_estimate),
        )

    @property
    def tokens(self) -> int:
        """Tokens of prompts and of answers."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Tally) -> Tally:
        """Return the sum with more calls of the same model about the same collection."""
        return Tally(
            self.model,
            self.collection,
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.usd + other.usd,
            self.unpriced_calls + other.unpriced_calls,
            self.estimated_calls + other.estimated_calls,
        )


@dataclass(frozen=True, slots=True)
class Account:
    """How a budget stands: what is spent of it, and what is reserved."""

    scope: Scope
    period: Period
    tokens: int
    usd: float
    reserved_tokens: int
    reserved_usd: float


class Spending:
    """What is spent, by tenant, subject and key, in days and months."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    async def reserve(
        self, payer: Payer, budgets: Sequence[Budget], *, tokens: int, usd: float, seconds: float
    ) -> UUID | Exhausted:
        """Reserve what a call may use, unless a budget has nothing left; it expires after `seconds`.

        The last call that a budget lets begin may end above it: by one answer at the most, whatever runs in parallel.
        """
        async with self._database.transaction() as connection:
            await _release_expired(connection, payer.tenant)
            await connection.execute(_ENSURE, payer.tenant, *_columns(payer))
            reservation = uuid4()
            rows = await connection.fetch(
                _RESERVE,
                payer.tenant,
                *_columns(payer),
                *_bounds(payer, budgets),
                *_amount(tokens, usd),
                reservation,
                key_name(payer.subject),
                key_name(payer.key),
                payer.day,
                seconds,
            )
        return _exhausted(rows) or reservation

    @rerun_on_conflict
    async def settle(self, payer: Payer, tally: Tally, *, reservation: UUID) -> None:
        """Count what a call has used, and give back what was reserved for it.

        The answer waits for it, so it does not wait for the disk: a PostgreSQL that loses its power forgets a second.
        """
        async with self._database.transaction(local=_HASTY) as connection:
            held = await connection.fetchrow(_TAKE_BACK, payer.tenant, reservation)
            reserved = (held["tokens"], held["usd"]) if held else (0, Decimal(0))
            await connection.execute(_RECORD, *_recorded(payer, tally))
            await connection.execute(_SPEND, payer.tenant, *_columns(payer), tally.tokens, tally.usd, *reserved)

    @rerun_on_conflict
    async def record(self, payer: Payer, tallies: Sequence[Tally]) -> None:
        """Count what calls have used for which nothing was reserved."""
        tokens, usd = sum(each.tokens for each in tallies), sum((each.usd for each in tallies), Decimal(0))
        rows = sorted((_recorded(payer, each) for each in tallies), key=lambda row: row[:6])
        async with self._database.transaction(local=_HASTY) as connection:
            await connection.executemany(_RECORD, rows)
            await connection.execute(_SPEND, payer.tenant, *_columns(payer), tokens, usd, 0, Decimal(0))

    @rerun_on_conflict
    async def release(self, payer: Payer, reservation: UUID) -> None:
        """Give back what was reserved for a call that has used nothing."""
        async with self._database.transaction() as connection:
            held = await connection.fetchrow(_TAKE_BACK, payer.tenant, reservation)
            if held:
                changes = [(payer.tenant, *account, held["tokens"], held["usd"]) for account in payer.accounts()]
                await connection.executemany(_RELEASE, sorted(changes))

    async def accounts(self, payer: Payer) -> Sequence[Account]:
        """Return how all accounts of a payer stand."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_ACCOUNTS, payer.tenant, *_columns(payer))
        return [
            Account(
                row["scope"],
                row["period"],
                row["tokens"],
                float(row["usd"]),
                row["reserved_tokens"],
                float(row["reserved_usd"]),
            )
            for row in rows
        ]

    async def forget_old(self, payer: Payer, *, days: int) -> None:
        """Delete a tenant's accounts of long ago; what was used stays in the record of usage."""
        async with self._database.connection() as connection:
            await connection.execute(
                """DELETE FROM footnote.spending s USING (SELECT tenant_id, scope, holder, period, starts_on
                    FROM footnote.spending WHERE tenant_id = $1 AND starts_on < $2::date - $3::int
                    FOR UPDATE SKIP LOCKED) old
                WHERE (s.tenant_id, s.scope, s.holder, s.period, s.starts_on)
                    = (old.tenant_id, old.scope, old.holder, old.period, old.starts_on)""",
                payer.tenant,
                payer.day,
                days,
            )


async def _release_expired(connection: Connection, tenant: str) -> None:
    """Give back what calls had reserved whose processes have died."""
    expired = await connection.fetch(
        """DELETE FROM footnote.reservations WHERE id IN (SELECT id FROM footnote.reservations
            WHERE tenant_id = $1 AND expires_at < clock_timestamp() FOR UPDATE SKIP LOCKED)
        RETURNING subject, key_id, day, tokens, usd""",
        tenant,
    )
    changes = [
        (tenant, *account, row["tokens"], row["usd"])
        for row in expired
        for account in Payer(tenant, row["subject"], row["key_id"], row["day"]).accounts()
    ]
    if changes:
        _log.warning("reservations of calls that were never settled expired", reservations=len(expired))
        await connection.executemany(_RELEASE, sorted(changes))


_HASTY = {"synchronous_commit": "off"}
_WANTED = "unnest($2::text[], $3::text[], $4::text[], $5::date[]) AS w (scope, holder, period, starts_on)"
_ENSURE = f"""
    INSERT INTO footnote.spending (tenant_id, scope, holder, period, starts_on)
    SELECT $1, * FROM {_WANTED} ORDER BY scope, holder, period, starts_on ON CONFLICT DO NOTHING"""
_RESERVE = """
    WITH wanted AS (
        SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::date[], $6::bigint[], $7::numeric[])
            AS w (scope, holder, period, starts_on, most_tokens, most_usd)
    ), locked AS (
        SELECT s.*, w.most_tokens, w.most_usd
        FROM footnote.spending s JOIN wanted w USING (scope, holder, period, starts_on)
        WHERE s.tenant_id = $1 ORDER BY s.scope, s.holder, s.period, s.starts_on FOR UPDATE OF s
    ), exhausted AS (
        SELECT * FROM locked WHERE tokens + reserved_tokens >= most_tokens OR usd + reserved_usd >= most_usd
    ), reserved AS (
        UPDATE footnote.spending s
        SET reserved_tokens = s.reserved_tokens + $8, reserved_usd = s.reserved_usd + $9
        FROM locked l
        WHERE (s.tenant_id, s.scope, s.holder, s.period, s.starts_on)
                = (l.tenant_id, l.scope, l.holder, l.period, l.starts_on)
            AND NOT EXISTS (SELECT FROM exhausted)
        RETURNING 1
    ), noted AS (
        INSERT INTO footnote.reservations (id, tenant_id, subject, key_id, day, tokens, usd, expires_at)
        SELECT $10, $1, $11, $12, $13, $8, $9, clock_timestamp() + make_interval(secs => $14)
        WHERE EXISTS (SELECT FROM reserved)
    )
    SELECT scope, period, tokens >= most_tokens AS spent_tokens, usd >= most_usd AS spent_usd,
        tokens + reserved_tokens >= most_tokens AS no_tokens
    FROM exhausted"""
_TAKE_BACK = "DELETE FROM footnote.reservations WHERE tenant_id = $1 AND id = $2 RETURNING tokens, usd"
_RELEASE = """
    UPDATE footnote.spending
    SET reserved_tokens = greatest(0, reserved_tokens - $6), reserved_usd = greatest(0, reserved_usd - $7)
    WHERE (tenant_id, scope, holder, period, starts_on) = ($1, $2, $3, $4, $5)"""
_SPEND = f"""
    INSERT INTO footnote.spending AS s (tenant_id, scope, holder, period, starts_on, tokens, usd)
    SELECT $1, w.*, $6::bigint, $7::numeric FROM {_WANTED} ORDER BY scope, holder, period, starts_on
    ON CONFLICT (tenant_id, scope, holder, period, starts_on) DO UPDATE
    SET tokens = s.tokens + excluded.tokens, usd = s.usd + excluded.usd,
        reserved_tokens = greatest(0, s.reserved_tokens - $8::bigint),
        reserved_usd = greatest(0, s.reserved_usd - $9::numeric)"""
_RECORD = """
    INSERT INTO footnote.usage AS u (tenant_id, day, subject, key_id, model, collection, calls, prompt_tokens,
        completion_tokens, usd, unpriced_calls, estimated_calls)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (tenant_id, day, subject, key_id, model, collection) DO UPDATE
    SET calls = u.calls + excluded.calls, prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = u.completion_tokens + excluded.completion_tokens, usd = u.usd + excluded.usd,
        unpriced_calls = u.unpriced_calls + excluded.unpriced_calls,
        estimated_calls = u.estimated_calls + excluded.estimated_calls"""
_ACCOUNTS = f"""
    SELECT s.* FROM footnote.spending s JOIN {_WANTED} USING (scope, holder, period, starts_on)
    WHERE s.tenant_id = $1"""


def _columns(payer: Payer) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*payer.accounts(), strict=True)))


def _bounds(payer: Payer, budgets: Sequence[Budget]) -> tuple[list[int | None], list[Decimal | None]]:
    by_place = {(budget.scope, budget.period): budget for budget in budgets}
    found = [by_place.get((scope, period)) for scope, _, period, _ in payer.accounts()]
    dollars = [_decimal(budget.usd) if budget and budget.usd is not None else None for budget in found]
    return [budget.tokens if budget else None for budget in found], dollars


def _amount(tokens: int, usd: float) -> tuple[int, Decimal]:
    return min(max(0, tokens), MOST), _decimal(usd)


def _decimal(usd: float) -> Decimal:
    return Decimal(str(round(min(max(0.0, usd), float(MOST)), 10)))


def _recorded(payer: Payer, tally: Tally) -> tuple[Any, ...]:
    return (
        payer.tenant,
        payer.day,
        key_name(payer.subject),
        key_name(payer.key),
        key_name(tally.model[:MODEL_NAME]),
        key_name(tally.collection),
        tally.calls,
        tally.prompt_tokens,
        tally.completion_tokens,
        tally.usd,
        tally.unpriced_calls,
        tally.estimated_calls,
    )


def _exhausted(rows: Sequence[Any]) -> Exhausted | None:
    """Return the budget that stays exhausted longest, of those that are."""
    found = [
        Exhausted(
            row["scope"],
            row["period"],
            "tokens" if row["spent_tokens"] or (not row["spent_usd"] and row["no_tokens"]) else "usd",
            by_reservations=not (row["spent_tokens"] or row["spent_usd"]),
        )
        for row in rows
    ]
    return max(found, key=lambda each: (not each.by_reservations, each.period == "month"), default=None)
