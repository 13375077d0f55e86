"""The limits that a tenant has in place of the settings'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage.caller import for_all_tenants
from storage.errors import TenantNotFound

if TYPE_CHECKING:
    from storage.database import Database


class TenantLimits:
    """A column of JSON objects, by `LimitSettings`' names; whoever reads it checks it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @for_all_tenants
    async def read(self, tenant: str) -> Mapping[str, object]:
        """Return a tenant's own limits; none of a tenant that does not exist."""
        async with self._database.connection() as connection:
            found = await connection.fetchval("SELECT limits FROM footnote.tenants WHERE id = $1", tenant)
        return dict(json.loads(found)) if found else {}

    async def write(self, tenant: str, limits: Mapping[str, object]) -> None:
        """Replace a tenant's own limits, which the caller has checked.

        Raises:
            TenantNotFound: there is no such tenant.

        """
        async with self._database.connection() as connection:
            done = await connection.fetchval(
                "UPDATE footnote.tenants SET limits = $2 WHERE id = $1 RETURNING true", tenant, json.dumps(limits)
            )
        if not done:
            raise TenantNotFound(tenant)
