"""What whoever asks is told of its limits, a month's end by a clock of the test's own, and the command."""

import json
from datetime import UTC, datetime

import pytest
from support.sql import execute

from config.settings import LimitSettings
from server.errors import BudgetExhausted
from server.limits.budgets import Budgets, asking_about
from server.limits.effective import EffectiveLimits
from server.limits.overview import LimitsOfCaller
from server.limits_command import InvalidLimit, run
from storage.access.limited import UsedKey, using_key
from storage.access.spending import Spending, Used
from storage.access.tenant_limits import TenantLimits
from storage.access.usage import UsageRecord
from storage.caller import Caller, acting_as
from storage.errors import TenantNotFound

ADA = Caller("public", "ada")
LIMITS = LimitSettings(subject_requests=9, subject_tokens_month=100, tenant_usd_day=1.5, key_tokens_day=7)


def opened(database, clock, limits=LIMITS):
    effective, spending = EffectiveLimits(limits, TenantLimits(database)), Spending(database)
    budgets = Budgets(spending, limits=effective, longest_call=10, count=len, clock=clock)
    return budgets, LimitsOfCaller(spending, limits=effective, clock=clock)


async def test_a_budget_is_renewed_with_the_month_and_the_overview_says_how_it_stands(database):
    now = [datetime(2026, 2, 28, 23, 59, 58, tzinfo=UTC)]
    budgets, limits = opened(database, lambda: now[0])
    with acting_as(ADA):
        asking_about("papers")
        before = await budgets.reserve(tokens=5, usd=0.25)
        now[0] = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)
        await budgets.settle(before, Used("m", 90, 20, 0.5))
        now[0] = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
        with pytest.raises(BudgetExhausted) as refused:
            await budgets.reserve(tokens=5, usd=0)
        assert refused.value.retry_after == 1
        assert "renewed at 2026-03-01T00:00:00Z" in str(refused.value)
        now[0] = datetime(2026, 3, 1, tzinfo=UTC)
        await budgets.reserve(tokens=3, usd=0.125)
        overview = await limits.overview()
        with using_key(UsedKey("k1", {"key_tokens_day": 8})):
            with_key = await limits.overview()
    assert overview.requests_a_minute == {"subject": 9}
    states = {(each.scope, each.period): each for each in overview.budgets}
    assert set(states) == {("subject", "month"), ("tenant", "day")}
    assert (states["subject", "month"].tokens, states["subject", "month"].spent_tokens) == (100, 3)
    assert states["subject", "month"].renews_at == datetime(2026, 4, 1, tzinfo=UTC)
    assert states["tenant", "day"].spent_usd == 0.125
    assert {each.scope: each.tokens for each in with_key.budgets}["key"] == 8
    february = datetime(2026, 2, 28, tzinfo=UTC).date()
    page = await UsageRecord(database).list(
        "public", subject="ada", first=february, last=february, by="collection", limit=5
    )
    assert [(each.name, each.prompt_tokens) for each in page.items] == [("papers", 90)]
    await budgets.close()


async def test_without_limits_there_is_nothing_to_tell(database):
    budgets, limits = opened(database, lambda: datetime(2026, 1, 31, tzinfo=UTC), LimitSettings())
    with acting_as(ADA):
        overview = await limits.overview()
        assert (await budgets.reserve(tokens=10**9, usd=10**9)).id is None
    assert (overview.requests_a_minute, overview.quotas, overview.budgets) == ({}, {}, [])


def test_the_command_sets_shows_and_unsets_a_tenant_s_limits(settings, dsn, capsys):
    assert run(settings, ["--set", "tenant_requests=600", "--set", "tenant_usd_day=none"]) == 0
    assert json.loads(capsys.readouterr().out)["limits"] == {"tenant_requests": 600}
    for wrong in ("tenant_requests=0", "requests=1", "tenant_requests=x", "tenant_usd_day=NaN", "tenant_usd_day=1e999"):
        with pytest.raises(InvalidLimit):
            run(settings, ["--set", wrong])
    with pytest.raises(TenantNotFound):
        run(settings, ["--tenant", "nobody", "--set", "tenant_requests=1"])
    assert execute(dsn, "SELECT limits FROM footnote.tenants") == [({"tenant_usd_day": None, "tenant_requests": 600},)]
    assert run(settings, ["--unset", "tenant_requests", "--unset", "tenant_usd_day"]) == 0
    assert json.loads(capsys.readouterr().out)["own"] == {}
