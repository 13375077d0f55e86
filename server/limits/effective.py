"""Which limits hold for whoever asks: the settings', the tenant's own, the key's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from cachetools import LRUCache

from config.errors import FootnoteError
from config.settings import LimitSettings, overridden
from server.last_known import LastKnown
from storage.access.limited import UsedKey, used_key
from storage.access.tenant_limits import TenantLimits
from storage.caller import LOCAL, caller

KEPT_SECONDS = 2.0
"""For so long a change of a tenant's limits may go unnoticed."""
LAST_SECONDS = 86_400.0
"""For so long those known last hold while the database does not answer."""
TENANTS = 1024
KEY = "key_"
"""How the names of limits begin that a key may have of its own."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asking:
    """Whoever the current task works for, as limits see it."""

    tenant: str
    subject: str
    key: UsedKey | None


def checked_key_limits(own: Mapping[str, object]) -> dict[str, object]:
    """Return limits that a key may have of its own.

    Raises:
        ValueError: there is no such limit of a key, or a value is out of bounds; the message names it.

    """
    known = [name for name in LimitSettings.model_fields if name.startswith(KEY)]
    if wrong := next((name for name in own if name not in known), None):
        msg = f"{wrong[:80]}: a key has no such limit; there are {', '.join(known)}"
        raise ValueError(msg)
    overridden(LimitSettings(), own)
    return dict(own)


def asking() -> Asking:
    """Return whoever the current task works for; where authentication is off, that is everybody as one."""
    who = caller() or LOCAL
    return Asking(who.tenant, who.subject, used_key())


class EffectiveLimits:
    """The limits that hold for a caller; a tenant's own are read every `KEPT_SECONDS` at the most."""

    def __init__(self, settings: LimitSettings, own: TenantLimits) -> None:
        self._settings = settings
        self._own = own
        self._tenants: LastKnown[LimitSettings] = LastKnown(
            self._of_tenant, fresh=KEPT_SECONDS, kept=LAST_SECONDS, most=TENANTS
        )
        self._told: LRUCache[tuple[str, str], None] = LRUCache(TENANTS)

    async def of(self, who: Asking) -> LimitSettings:
        """Return the limits of a caller; those known last where the database does not answer."""
        try:
            limits = await self._tenants.of(who.tenant)
        except FootnoteError as error:
            _log.warning("a tenant's limits cannot be read", error=type(error).__name__)
            limits = self._settings
        if who.key is None or not who.key.limits:
            return limits
        own = {name: value for name, value in who.key.limits.items() if name.startswith(KEY)}
        return self._replaced(limits, own, whose=f"key {who.key.id}")

    async def of_tenant(self, who: Asking) -> LimitSettings:
        """Return the limits of a caller, apart from those of its key."""
        return await self.of(Asking(who.tenant, who.subject, None))

    async def _of_tenant(self, tenant: str) -> LimitSettings:
        own = await self._own.read(tenant)
        return self._replaced(self._settings, own, whose=f"tenant {tenant}")

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
