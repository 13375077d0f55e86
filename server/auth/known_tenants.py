"""Whose requests are answered: tenants that exist and are not suspended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from server.errors import Forbidden
from server.last_known import LastKnown

if TYPE_CHECKING:
    from datetime import datetime

    from storage.access.tenants import Standing

FRESH_SECONDS = 1.0
"""For which what is known of a tenant is believed."""

MOST = 10_000
NO_SCOPE = ""
NO_TENANT = "there is no such tenant"


class StatusOf(Protocol):
    """Knows the tenants, see `storage.access.tenants.Tenants`."""

    async def standing(self, tenant: str) -> Standing | None:
        """Return whether a tenant's requests are answered, and since when it is there; None: there is none."""
        ...


class KnownTenants:
    """Remembers tenants for a second; with the database away, what it knew last for the `grace` of keys."""

    def __init__(self, tenants: StatusOf, *, grace: float) -> None:
        self._standings: LastKnown[Standing | None] = LastKnown(
            tenants.standing, fresh=FRESH_SECONDS, kept=grace, most=MOST
        )

    async def require(self, tenant: str) -> datetime:
        """Let the requests of a tenant pass; return when it was made.

        Raises:
            Forbidden: there is no such tenant, or it is suspended or being deleted.
            FootnoteError: that cannot be known now.

        """
        found = await self._standings.of(tenant)
        if found is None:
            raise Forbidden(NO_SCOPE, NO_TENANT)
        if found.status != "active":
            raise Forbidden(NO_SCOPE, "the tenant is suspended")
        return found.since
