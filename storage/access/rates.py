"""Requests a minute, counted for every worker in one place, by GCRA.

The generic cell rate algorithm keeps one instant for each holder: when the bucket would be empty of what was taken. A
request moves it by the pause that its rate leaves between two; it is refused where that would be further than a minute
ahead. See https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from storage.access.names import key_name
from storage.conflicts import rerun_on_conflict

if TYPE_CHECKING:
    from storage.database import Database

Scope = Literal["key", "subject", "tenant"]
MINUTE = 60


@dataclass(frozen=True, slots=True)
class Rate:
    """What a holder may ask: `most` requests a minute, which may come at once."""

    scope: Scope
    holder: str
    most: int


@dataclass(frozen=True, slots=True)
class Taken:
    """How a rate stands after a request.

    Attributes:
        left: requests that would be admitted now.
        next: seconds until there is one more; 0 where there are as many as there can be.
        wait: seconds until one is admitted; 0: this one was, as far as this rate is concerned.

    """

    rate: Rate
    left: int
    next: float
    wait: float


class Rates:
    """The rates of all workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    async def take(self, tenant: str, rates: Sequence[Rate], *, at: datetime | None = None) -> Sequence[Taken]:
        """Count a request against all of these rates, or against none if one of them refuses it.

        `at` stands for the database's clock.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM footnote.take_turn($1, $2, $3, $4, $5, $6)",
                tenant,
                [rate.scope for rate in rates],
                [key_name(rate.holder) for rate in rates],
                [rate.most for rate in rates],
                float(MINUTE),
                at,
            )
        ahead = {row["scope"]: (row["ahead"], row["excess"]) for row in rows}
        # a row may have been forgotten as idle at that moment
        return [_taken(rate, *ahead.get(rate.scope, (MINUTE / rate.most, 0.0))) for rate in rates]

    async def forget_idle(self, tenant: str) -> None:
        """Delete the rows of a tenant whose holders have not asked for a while; without a row a bucket is full."""
        async with self._database.connection() as connection:
            await connection.execute(
                """DELETE FROM footnote.rates r USING (SELECT tenant_id, scope, holder FROM footnote.rates
                    WHERE tenant_id = $1 AND due < clock_timestamp() - interval '1 minute' FOR UPDATE SKIP LOCKED) idle
                WHERE (r.tenant_id, r.scope, r.holder) = (idle.tenant_id, idle.scope, idle.holder)""",
                tenant,
            )


def _taken(rate: Rate, ahead: float, excess: float) -> Taken:
    pause = MINUTE / rate.most
    left = max(0, math.floor((MINUTE - ahead) / pause + 1e-6))
    missing = (left + 1) * pause - (MINUTE - ahead) if left < rate.most else 0.0
    return Taken(rate, left, next=max(0.0, missing), wait=max(0.0, excess))
