"""Tenants, for those who may work on all of them; nobody suspends or deletes the one that he asks from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from server.errors import NoSuchTenant
from storage.errors import InvalidTenant, TenantNotFound

if TYPE_CHECKING:
    from server.principal import Principal
    from storage.access.tenants import TenantInfo, Tenants
    from storage.cursors import Page


class TenantService:
    """Every method raises `FootnoteError`s only, apart from defects."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    async def list(self, *, limit: int, cursor: str | None = None) -> Page[TenantInfo]:
        """List all tenants by name; raises `InvalidCursor`."""
        return await self._tenants.page(limit=limit, cursor=cursor)

    async def create(self, tenant: str, /) -> TenantInfo:
        """Make a tenant.

        Raises:
            InvalidTenant: the name cannot be used.
            TenantExists: it is taken.

        """
        await self._tenants.create(tenant)
        return await self._info(tenant)

    async def suspend(self, tenant: str, /, *, by: Principal) -> TenantInfo:
        """Let none of a tenant's requests be answered and none of its jobs run, until it is resumed.

        Raises:
            NoSuchTenant: there is none, or it is being deleted.
            InvalidTenant: it is that of whoever asks, who could not resume it.

        """
        _require_other(tenant, by, deed="suspended")
        try:
            await self._tenants.suspend(tenant)
        except TenantNotFound as exc:
            raise NoSuchTenant(tenant) from exc
        return await self._info(tenant)

    async def resume(self, tenant: str, /) -> TenantInfo:
        """Let a tenant's requests be answered, and its jobs run, again; raises `NoSuchTenant`."""
        try:
            await self._tenants.resume(tenant)
        except TenantNotFound as exc:
            raise NoSuchTenant(tenant) from exc
        return await self._info(tenant)

    async def delete(self, tenant: str, /, *, by: Principal) -> Mapping[str, int]:
        """Delete a tenant with all that is its own; return how much there was of each.

        Its requests are refused from here on. Broken off, it is gone on with by the next call.

        Raises:
            NoSuchTenant: there is none.
            InvalidTenant: it is that of whoever asks, or Footnote's own.
            TenantBusy: a table is being read or written; call it again.

        """
        _require_other(tenant, by, deed="deleted")
        try:
            return await self._tenants.delete(tenant)
        except TenantNotFound as exc:
            raise NoSuchTenant(tenant) from exc

    async def _info(self, tenant: str) -> TenantInfo:
        found = await self._tenants.find(tenant)
        if found is None:
            raise NoSuchTenant(tenant)
        return found


def _require_other(tenant: str, by: Principal, *, deed: str) -> None:
    if tenant == by.caller.tenant:
        msg = f"{tenant!r} is the tenant that you ask from; it is {deed} on the command line alone"
        raise InvalidTenant(msg)
