"""What a tenant may bring in a day, and keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.telemetry.metrics import LIMIT_REFUSALS
from server.errors import RateLimited
from server.limits.effective import EffectiveLimits, asking
from server.limits.periods import Clock, renewal, seconds_until, utc_now
from storage.access.quotas import charge_upload, count_stored, forget_uploads_before

if TYPE_CHECKING:
    from config.settings import LimitSettings
    from storage.database import Connection


class Quotas:
    """Lets a tenant add documents."""

    def __init__(self, *, limits: EffectiveLimits, clock: Clock = utc_now) -> None:
        self._limits = limits
        self._clock = clock

    async def limits(self) -> LimitSettings | None:
        """Return the limits of the current caller, None where it may add what it likes; outside of a transaction."""
        found = await self._limits.of(asking())
        bounds = (found.tenant_uploads, found.tenant_upload_bytes, found.tenant_documents, found.tenant_chunks)
        return None if bounds == (None,) * len(bounds) else found

    async def charge(self, connection: Connection, limits: LimitSettings, *, size: int) -> None:
        """Count a document that was submitted in this transaction, as its last act: others wait for its end.

        Raises:
            RateLimited: it is one too many, and the transaction must not be committed.

        """
        tenant = asking().tenant
        if limits.tenant_uploads is not None or limits.tenant_upload_bytes is not None:
            await self._charge_day(connection, tenant, limits, size)
        if limits.tenant_documents is not None or limits.tenant_chunks is not None:
            await _require_room(connection, tenant, limits)

    async def _charge_day(self, connection: Connection, tenant: str, limits: LimitSettings, size: int) -> None:
        now = self._clock()
        most, most_bytes = limits.tenant_uploads, limits.tenant_upload_bytes
        if await charge_upload(connection, tenant, now.date(), size=size, most=most, most_bytes=most_bytes):
            await forget_uploads_before(connection, tenant, now.date())
            return
        renews = renewal("day", now.date())
        bounds = [f"{most} uploads"] * (most is not None) + [f"{most_bytes} bytes"] * (most_bytes is not None)
        detail = f"the tenant may upload {' and '.join(bounds)} a day, again from {renews:%Y-%m-%dT%H:%M:%SZ} on"
        raise _refusal(detail, limit="uploads", retry_after=seconds_until(renews, now))


async def _require_room(connection: Connection, tenant: str, limits: LimitSettings) -> None:
    stored = await count_stored(connection, tenant)
    if limits.tenant_documents is not None and stored.documents + stored.coming > limits.tenant_documents:
        detail = f"the tenant may store {limits.tenant_documents} documents, and has them; delete some first"
        raise _refusal(detail, limit="stored")
    if limits.tenant_chunks is not None and stored.chunks >= limits.tenant_chunks:
        detail = f"the tenant may store {limits.tenant_chunks} chunks, and has {stored.chunks}; delete documents first"
        raise _refusal(detail, limit="stored")


def _refusal(detail: str, *, limit: str, retry_after: float | None = None) -> RateLimited:
    LIMIT_REFUSALS.add(1, {"footnote.limit": limit, "footnote.scope": "tenant"})
    return RateLimited(detail, retry_after=retry_after)
