"""Whose requests are answered: known for a second, and for the time of grace where the database is away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from server.auth import known_tenants as module
from server.auth.known_tenants import KnownTenants
from server.errors import Forbidden
from storage.access.tenants import Standing
from storage.errors import StoreUnavailable

SINCE = datetime(2026, 11, 29, tzinfo=UTC)


class Statuses:
    """The database's tenants; `away` lets it fail."""

    def __init__(self, **known):
        self.known = known
        self.asked = []
        self.away = False

    async def standing(self, tenant):
        self.asked.append(tenant)
        if self.away:
            raise StoreUnavailable
        found = self.known.get(tenant)
        return found and Standing(found, SINCE)


async def test_active_tenants_pass_and_others_are_told_why():
    tenants = KnownTenants(Statuses(acme="active", old="suspended", gone="deleting"), grace=60)
    assert await tenants.require("acme") == SINCE
    with pytest.raises(Forbidden, match="suspended"):
        await tenants.require("old")
    with pytest.raises(Forbidden, match="suspended"):
        await tenants.require("gone")
    with pytest.raises(Forbidden, match="no such tenant"):
        await tenants.require("nobody")


async def test_a_suspension_is_heard_of_after_a_second_and_asked_for_once_in_it(monkeypatch):
    statuses = Statuses(acme="active")
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.2)
    tenants = KnownTenants(statuses, grace=60)
    for _ in range(5):
        await tenants.require("acme")
    assert statuses.asked == ["acme"]
    statuses.known["acme"] = "suspended"
    await asyncio.sleep(0.25)
    with pytest.raises(Forbidden):
        await tenants.require("acme")


async def test_with_the_database_away_what_was_known_last_holds(monkeypatch):
    statuses = Statuses(acme="active", old="suspended")
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    tenants = KnownTenants(statuses, grace=60)
    await tenants.require("acme")
    with pytest.raises(Forbidden):
        await tenants.require("old")
    statuses.away = True
    await tenants.require("acme")
    with pytest.raises(Forbidden):
        await tenants.require("old")
    with pytest.raises(StoreUnavailable):
        await tenants.require("never seen")
