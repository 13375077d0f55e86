"""Whose requests are answered: tenants that exist and are not suspended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from cachetools import TTLCache

from config.errors import FootnoteError
from server.errors import Forbidden

if TYPE_CHECKING:
    from storage.access.tenants import TenantStatus

FRESH_SECONDS = 1.0
"""For which what is known of a tenant is believed."""

MOST = 10_000
NO_SCOPE = ""


class StatusOf(Protocol):
    """Knows the tenants, see `storage.access.tenants.Tenants`."""

    async def status(self, tenant: str) -> TenantStatus | None:
        """Return whether a tenant's requests are answered; None: there is none."""
        ...


class KnownTenants:
    """Remembers tenants for a second; with the database away, what it knew last for the `grace` of keys."""

    def __init__(self, tenants: StatusOf, *, grace: float) -> None:
        self._tenants = tenants
        self._known: TTLCache[str, tuple[float, TenantStatus | None]] = TTLCache(MOST, max(grace, FRESH_SECONDS))

    async def require(self, tenant: str) -> None:
        """Let the requests of a tenant pass.

        Raises:
            Forbidden: there is no such tenant, or it is suspended or being deleted.
            FootnoteError: that cannot be known now.

        """
        status = await self._status(tenant)
        if status != "active":
            raise Forbidden(NO_SCOPE, "there is no such tenant" if status is None else "the tenant is suspended")

    async def _status(self, tenant: str) -> TenantStatus | None:
        known = self._known.get(tenant)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            status = await self._tenants.status(tenant)
        except FootnoteError:
            if known is None:
                raise
            return known[1]
        self._known[tenant] = time.monotonic(), status
        return status
