"""Which limits hold for whoever asks: the settings', the tenant's own, the key's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from cachetools import LRUCache, TTLCache

from config.errors import FootnoteError
from config.settings import LimitSettings, overridden
from storage.access.limited import UsedKey, used_key
from storage.access.tenant_limits import TenantLimits
from storage.caller import LOCAL, caller

KEPT_SECONDS = 2.0
"""For so long a change of a tenant's limits may go unnoticed."""
TENANTS = 1024

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asking:
    """Whoever the current task works for, as limits see it."""

    tenant: str
    subject: str
    key: UsedKey | None


def asking() -> Asking:
    """Return whoever the current task works for; where authentication is off, that is everybody as one."""
    who = caller() or LOCAL
    return Asking(who.tenant, who.subject, used_key())


class EffectiveLimits:
    """The limits that hold for a caller; a tenant's own are read every `KEPT_SECONDS` at the most."""

    def __init__(self, settings: LimitSettings, own: TenantLimits) -> None:
        self._settings = settings
        self._own = own
        self._fresh: TTLCache[str, LimitSettings] = TTLCache(TENANTS, KEPT_SECONDS)
        self._last: LRUCache[str, LimitSettings] = LRUCache(TENANTS)
        self._told: LRUCache[tuple[str, str], None] = LRUCache(TENANTS)

    async def of(self, who: Asking) -> LimitSettings:
        """Return the limits of a caller; those known last where the database does not answer."""
        limits = self._fresh.get(who.tenant)
        if limits is None:
            limits = self._fresh[who.tenant] = await self._of_tenant(who.tenant)
        if who.key is None or not who.key.limits:
            return limits
        own = {name: value for name, value in who.key.limits.items() if name.startswith("key_")}
        return self._replaced(limits, own, whose=f"key {who.key.id}")

    async def _of_tenant(self, tenant: str) -> LimitSettings:
        try:
            own = await self._own.read(tenant)
        except FootnoteError as error:
            _log.warning("a tenant's limits cannot be read", error=type(error).__name__)
            return self._last.get(tenant, self._settings)
        self._last[tenant] = found = self._replaced(self._settings, own, whose=f"tenant {tenant}")
        return found

    def _replaced(self, limits: LimitSettings, own: Mapping[str, object], *, whose: str) -> LimitSettings:
        """Return limits with some replaced; what is no limit is left out, and told once."""
        for name, value in own.items():
            try:
                limits = overridden(limits, {name: value})
            except ValueError as exc:
                if (whose, name) not in self._told:
                    self._told[whose, name] = None
                    _log.error("a limit cannot be used, the settings' holds", whose=whose, reason=str(exc))
        return limits
