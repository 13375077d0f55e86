"""Budgets in PostgreSQL: reserved by one statement, settled, given back, expired."""

import asyncio
from datetime import date

import pytest
from support.sql import execute

from storage.access.spending import Budget, Exhausted, Payer, Spending, Tally, Used
from storage.access.usage import UsageRecord

DAY = date(2026, 2, 28)
ADA = Payer("public", "ada", "k1", DAY)
LIMIT = [Budget("tenant", "day", tokens=100)]


def used(prompt: int, completion: int, usd: float | None = None, collection: str = "c") -> Tally:
    return Tally.of(Used("m", prompt, completion, usd), collection=collection)


async def stand(spending, payer=ADA, scope="tenant", period="day"):
    (found,) = [each for each in await spending.accounts(payer) if (each.scope, each.period) == (scope, period)]
    return found


async def test_fifty_parallel_calls_overshoot_by_one_reservation_at_most(database):
    spending = Spending(database)
    ends = await asyncio.gather(*(spending.reserve(ADA, LIMIT, tokens=30, usd=0.0, seconds=60) for _ in range(50)))
    granted = [end for end in ends if not isinstance(end, Exhausted)]
    assert len(granted) == 4  # three fill 90 of 100; the fourth may end above
    assert {end.by_reservations for end in ends if isinstance(end, Exhausted)} == {True}
    await asyncio.gather(*(spending.settle(ADA, used(20, 10), reservation=each) for each in granted))
    account = await stand(spending)
    assert (account.tokens, account.reserved_tokens) == (120, 0)
    refused = await spending.reserve(ADA, LIMIT, tokens=1, usd=0.0, seconds=60)
    assert refused == Exhausted("tenant", "day", "tokens", by_reservations=False)


async def test_what_was_not_used_of_a_reservation_is_free_again(database):
    spending = Spending(database)
    first = await spending.reserve(ADA, LIMIT, tokens=1000, usd=0.0, seconds=60)
    assert isinstance(await spending.reserve(ADA, LIMIT, tokens=1, usd=0.0, seconds=60), Exhausted)
    await spending.settle(ADA, used(3, 4), reservation=first)
    second = await spending.reserve(ADA, LIMIT, tokens=1, usd=0.0, seconds=60)
    assert not isinstance(second, Exhausted)
    await spending.release(ADA, second)
    await spending.release(ADA, second)  # a second time changes nothing
    account = await stand(spending)
    assert (account.tokens, account.reserved_tokens) == (7, 0)


async def test_a_refusal_reserves_nothing_anywhere(database):
    spending = Spending(database)
    budgets = [Budget("subject", "month", usd=0.0), Budget("tenant", "day", tokens=10**9)]
    refused = await spending.reserve(ADA, budgets, tokens=5, usd=1.0, seconds=60)
    assert refused == Exhausted("subject", "month", "usd", by_reservations=False)
    assert all(each.reserved_tokens == 0 for each in await spending.accounts(ADA))


async def test_dollars_are_counted_to_the_last_digit(database):
    spending = Spending(database)
    for _ in range(30):
        made = await spending.reserve(ADA, [Budget("key", "day", usd=0.01)], tokens=1, usd=0.0001, seconds=60)
        await spending.settle(ADA, used(1, 1, 0.0001), reservation=made)
    assert (await stand(spending, scope="key")).usd == 0.003


async def test_the_reservation_of_a_process_that_died_expires(database, dsn):
    spending = Spending(database)
    lost = await spending.reserve(ADA, LIMIT, tokens=100, usd=0.5, seconds=60)
    assert isinstance(await spending.reserve(ADA, LIMIT, tokens=1, usd=0.0, seconds=60), Exhausted)
    execute(dsn, "UPDATE footnote.reservations SET expires_at = now() - interval '1 second'")
    again = await asyncio.gather(*(spending.reserve(ADA, LIMIT, tokens=1, usd=0.0, seconds=60) for _ in range(5)))
    assert not any(isinstance(each, Exhausted) for each in again)
    assert (await stand(spending)).reserved_tokens == 5
    # it was slow, not dead: what it used is counted, and nothing is given back twice
    await spending.settle(ADA, used(40, 2), reservation=lost)
    account = await stand(spending)
    assert (account.tokens, account.reserved_tokens, account.reserved_usd) == (42, 5, 0.0)


async def test_a_call_is_counted_for_the_day_and_the_month_that_it_began_in(database):
    spending = Spending(database)
    made = await spending.reserve(ADA, LIMIT, tokens=1, usd=0.0, seconds=60)
    tomorrow = Payer("public", "ada", "k1", date(2026, 3, 1))
    await spending.settle(ADA, used(60, 60), reservation=made)
    assert isinstance(await spending.reserve(ADA, LIMIT, tokens=1, usd=0.0, seconds=60), Exhausted)
    assert not isinstance(await spending.reserve(tomorrow, LIMIT, tokens=1, usd=0.0, seconds=60), Exhausted)
    month = [Budget("tenant", "month", tokens=100)]
    assert not isinstance(await spending.reserve(tomorrow, month, tokens=1, usd=0.0, seconds=60), Exhausted)
    await spending.forget_old(Payer("public", "ada", "", date(2026, 5, 10)), days=70)
    assert (await stand(spending, tomorrow)).reserved_tokens == 2
    assert {each.period for each in await spending.accounts(ADA)} == set()


@pytest.mark.parametrize("count", [10**30, -5])
async def test_what_a_provider_claims_is_bounded(database, count):
    spending = Spending(database)
    await spending.record(ADA, [used(count, count, float("1e300") if count > 0 else -1.0)])
    account = await stand(spending)
    assert account.tokens == (2 * 10**12 if count > 0 else 0)
    assert account.usd == (10**12 if count > 0 else 0)


async def test_usage_sums_to_what_was_settled_in_pages(database):
    spending, record = Spending(database), UsageRecord(database)
    total = 0
    for number in range(30):
        subject = ("ada", "o'Neil \"\\", "日" * 300)[number % 3]
        payer = Payer("public", subject, "", date(2026, 2, 26 + number % 3))
        await spending.record(payer, [used(number, 1, 0.5, f"c{number % 4}")])
        total += number + 1
    for by, names in (("day", 3), ("collection", 4), ("subject", 3), ("model", 1)):
        items, cursor = [], None
        while True:
            page = await record.list(
                "public", subject=None, first=DAY.replace(day=1), last=DAY, by=by, limit=1, cursor=cursor
            )
            items += page.items
            if (cursor := page.next_cursor) is None:
                break
        assert len(items) == names
        assert sum(each.prompt_tokens + each.completion_tokens for each in items) == total
        assert sum(each.cost_usd for each in items) == 15.0
        assert [each.name for each in items] == sorted(each.name for each in items)
    own = await record.list("public", subject="日" * 300, first=DAY, last=DAY, by="day", limit=10)
    assert [each.calls for each in own.items] == [10]
    assert (await record.list("other", subject=None, first=DAY, last=DAY, by="day", limit=10)).items == ()


async def test_sums_of_many_calls_are_what_each_alone_would_be(database):
    spending, record = Spending(database), UsageRecord(database)
    calls = [used(number, 2, None if number % 5 == 0 else 0.001, f"c{number % 3}") for number in range(30)]
    sums = {each.collection: each for each in calls[:3]}
    for each in calls[3:]:
        sums[each.collection] = sums[each.collection].plus(each)
    await asyncio.gather(*(spending.record(ADA, list(sums.values())) for _ in range(4)))
    found = (await record.list("public", subject=None, first=DAY, last=DAY, by="collection", limit=10)).items
    for name, item in zip(("c0", "c1", "c2"), found, strict=True):
        mine = [each for each in calls if each.collection == name]
        assert (item.calls, item.unpriced_calls) == (40, 4 * sum(each.unpriced_calls for each in mine))
        assert item.prompt_tokens == 4 * sum(each.prompt_tokens for each in mine)
        assert item.cost_usd == pytest.approx(4 * float(sum(each.usd for each in mine)))
    assert (await stand(spending)).tokens == 4 * sum(each.tokens for each in calls)


async def test_parallel_payers_of_two_days_never_deadlock(database):
    spending = Spending(database)
    budgets = [Budget("tenant", "month", tokens=10**9), Budget("key", "day", tokens=10**9)]

    async def call(number: int) -> None:
        payer = Payer("public", f"s{number % 5}", f"k{number % 3}", date(2026, 2, 27 + number % 2))
        made = await spending.reserve(payer, budgets, tokens=10, usd=0.1, seconds=60)
        await spending.settle(payer, used(3, 4, 0.01), reservation=made)

    await asyncio.gather(*(call(number) for number in range(60)))
    (month,) = {
        each.tokens for each in await spending.accounts(ADA) if (each.scope, each.period) == ("tenant", "month")
    }
    assert month == 60 * 7
