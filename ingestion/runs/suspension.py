"""Runs of a tenant that is suspended are not begun, and those that run are stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from ingestion.errors import CommandRefused
from storage.access.tenants import Tenants
from storage.caller import LOCAL, caller

if TYPE_CHECKING:
    from ingestion.pipeline.pipeline import Pipeline
    from storage.database import Database

LOOK_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class TenantSuspended(CommandRefused):
    """Nothing is ingested for a tenant that is suspended."""

    def __init__(self, tenant: str) -> None:
        super().__init__(f"the tenant {tenant!r} is suspended; python -m server tenants resume {tenant} ends that")


@asynccontextmanager
async def while_active(database: Database) -> AsyncIterator[Callable[[Pipeline], None]]:
    """Yield what is to be called with each pipeline of a run: it is stopped when the tenant is suspended.

    Raises:
        TenantSuspended: it is already.

    """
    tenant, tenants, pipelines = (caller() or LOCAL).tenant, Tenants(database), list["Pipeline"]()

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                is_held = await tenants.status(tenant) == "suspended"
            except FootnoteError:  # the run notices it itself
                continue
            if is_held and pipelines and not pipelines[-1].is_stopping:
                _log.warning("the tenant was suspended; the run stops", tenant=tenant)
                pipelines[-1].stop()

    if await tenants.status(tenant) == "suspended":
        raise TenantSuspended(tenant)
    async with running_beside(watch()):
        yield pipelines.append
