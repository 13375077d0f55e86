"""Requests a minute: GCRA in PostgreSQL, against the same in plain Python, and with many workers at a time."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sql import execute

from storage.access.names import key_name
from storage.access.rates import Rate, Rates
from storage.caller import acting_as, service_of
from storage.database import Database
from storage.errors import MissingKey

BEGIN = datetime(2026, 2, 28, 23, 59, 30, tzinfo=UTC)
MINUTE = 60.0


@dataclass
class Model:
    """The generic cell rate algorithm over exact seconds; a bucket is never emptier than empty."""

    due: dict[tuple[str, str], float] = field(default_factory=dict)

    def take(self, rates: list[Rate], now: float) -> bool:
        ahead = {each: min(max(self.due.get(place(each), now) - now, 0.0), MINUTE) for each in rates}
        admitted = all(ahead[each] + MINUTE / each.most <= MINUTE + 1e-6 for each in rates)
        for each in rates:
            moved = ahead[each] + (MINUTE / each.most if admitted else 0.0)
            self.due[place(each)] = now + moved
        return admitted


def place(rate: Rate) -> tuple[str, str]:
    return rate.scope, rate.holder


HOLDERS = ("ada", "", "a" * 600, "\0nul", "ü'\"\\{}", "\ud800half", "日本")
RATES = st.lists(
    st.builds(
        Rate, st.sampled_from(("key", "subject", "tenant")), st.sampled_from(HOLDERS), st.sampled_from((1, 2, 5, 60))
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda rate: rate.scope,
)
STEPS = st.lists(st.tuples(RATES, st.sampled_from((0.0, 0.5, 1.0, 12.0, 30.0, 61.0, -5.0, -3600.0))), max_size=25)


@given(steps=STEPS)
def test_it_admits_what_the_model_admits_and_tells_what_is_left(databases, steps):
    async def run() -> None:
        with databases.lend() as url:
            opened = await open_database(url)
            rates, model, now = Rates(opened), Model(), 0.0
            try:
                for asked, pause in steps:
                    now += pause
                    taken = await rates.take("public", asked, at=BEGIN + timedelta(seconds=now))
                    assert all(each.wait == 0 for each in taken) == model.take(asked, now)
                    for each in taken:
                        ahead = model.due[place(each.rate)] - now
                        left = (MINUTE - ahead) * each.rate.most / MINUTE
                        assert each.left == pytest.approx(left, abs=1.001)
                        assert 0 <= each.left <= each.rate.most
                        assert 0 <= each.next <= MINUTE + 0.001
            finally:
                await opened.close()

    asyncio.run(run())


async def open_database(url: str) -> Database:
    from config.settings import DatabaseSettings

    return await Database.open(url, settings=DatabaseSettings())


async def test_many_first_requests_of_two_pools_share_one_bucket(database, dsn):
    other = await open_database(dsn)
    rate = [Rate("subject", "ada", 7), Rate("tenant", "", 100)]
    taking = [Rates(pool).take("public", rate) for pool in (database, other) * 20]
    taken = await asyncio.gather(*taking)
    await other.close()
    assert sum(all(each.wait == 0 for each in one) for one in taken) == 7


async def test_a_refused_request_takes_nothing_of_the_other_rates(database):
    rates = Rates(database)
    both = [Rate("subject", "ada", 1), Rate("tenant", "", 50)]
    for _ in range(5):
        await rates.take("public", both, at=BEGIN)
    (tenant,) = await rates.take("public", [Rate("tenant", "", 50)], at=BEGIN)
    assert tenant.left == 48


async def test_a_clock_that_is_set_back_by_a_day_refuses_for_a_minute_at_most(database):
    rates, rate = Rates(database), [Rate("tenant", "", 2)]
    for _ in range(3):
        await rates.take("public", rate, at=BEGIN)
    back = BEGIN - timedelta(days=1)
    (taken,) = await rates.take("public", rate, at=back)
    assert 0 < taken.wait <= 30
    (taken,) = await rates.take("public", rate, at=back + timedelta(seconds=31))
    assert taken.wait == 0


async def test_holders_of_two_tenants_are_two(database, dsn):
    execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")
    rates, rate = Rates(database), [Rate("subject", "ada", 1)]
    for tenant in ("public", "other"):
        with acting_as(service_of(tenant)):
            (taken,) = await rates.take(tenant, rate, at=BEGIN)
        assert taken.wait == 0
    execute(dsn, "DELETE FROM footnote.tenants WHERE id = 'other'")
    assert execute(dsn, "SELECT count(*) FROM footnote.rates")[0][0] == 1


async def test_a_tenant_that_does_not_exist_has_no_rates(database):
    with pytest.raises(MissingKey), acting_as(service_of("nobody")):
        await Rates(database).take("nobody", [Rate("tenant", "", 1)])


async def test_idle_holders_are_forgotten_and_others_are_not(database, dsn):
    rates = Rates(database)
    await rates.take("public", [Rate("subject", "gone", 60)], at=BEGIN)
    await rates.take("public", [Rate("subject", "here", 60)])
    await rates.forget_idle("public")
    assert execute(dsn, "SELECT holder FROM footnote.rates") == [("here",)]


def test_names_that_cannot_be_keys_stay_apart():
    names = ["a", "a\0", "\ud800a", "a" * 512, "a" * 513, "b" * 513, "a" * 512 + "é", ""]
    assert len({key_name(name) for name in names}) == len(names)
    assert all(len(key_name(name).encode()) <= 512 for name in names)
    assert all(key_name(key_name(name)) == key_name(name) for name in names)
