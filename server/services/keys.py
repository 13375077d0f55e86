"""API keys are made, listed, rotated and revoked here, by whoever may; nobody gives away more than he has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from config.settings import LimitSettings
from server.auth.authenticator import principal_of_key
from server.auth.key_text import KeyText
from server.errors import Forbidden, InvalidKey
from server.limits.effective import checked_key_limits
from server.principal import ADMIN, TENANTS, Principal
from server.services.key_limits import inherited, require_no_more
from storage.access.keys import ApiKey, NewApiKey
from storage.errors import KeyNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from storage.access.keys import ApiKeys
    from storage.cursors import Page


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key as it is asked for, with scopes that there are; None stands for what whoever asks has."""

    name: str
    scopes: tuple[str, ...]
    tenant: str | None = None
    subject: str | None = None
    groups: tuple[str, ...] | None = None
    collections: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    limits: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key, and its text, which nobody can be told again."""

    key: ApiKey
    text: KeyText


class KeyService:
    """Every method raises `FootnoteError`s only, apart from defects; what one may not see is a `KeyNotFound`."""

    def __init__(self, keys: ApiKeys, *, limits: Callable[[], Awaitable[LimitSettings]] | None = None) -> None:
        """Take what tells the limits that hold for the caller, apart from those of its key; None: none is set."""
        self._keys = keys
        self._limits = limits

    async def create(self, wanted: WantedKey, /, *, by: Principal) -> MadeKey:
        """Make a key.

        Raises:
            Forbidden: it would be able to do more than whoever asks for it, or that is a key with limits of its own.
            InvalidKey: it has expired already, or a limit is none.

        """
        if by.limits and not by.is_admin:
            raise Forbidden(ADMIN, "a key with limits of its own makes no others: together they could use up more")
        text = KeyText.new()
        new = _checked(wanted, text, by)
        require_no_more(new.limits, by=by, of_tenant=await self._of_tenant())
        return MadeKey(await self._keys.create(new), text)

    async def list(
        self, *, by: Principal, tenant: str | None = None, limit: int, cursor: str | None = None
    ) -> Page[ApiKey]:
        """List the keys of a tenant, unset: one's own; without `admin` those of one's own subject."""
        tenant = _tenant(tenant, by)
        subject = None if by.is_admin or tenant != by.caller.tenant else by.caller.subject
        return await self._keys.list(tenant=tenant, subject=subject, limit=limit, cursor=cursor)

    async def rotate(self, key_id: str, /, *, by: Principal, overlap: timedelta) -> MadeKey:
        """Give a key another secret; the one before is good for `overlap` more.

        Raises:
            KeyNotFound: there is no such key, or it was revoked or has expired.
            Forbidden: it may do more than whoever asks, who would get to know its secret.

        """
        key = await self._visible(key_id, by)
        _require_less(principal_of_key(key), by)
        require_no_more(key.limits, by=by, of_tenant=await self._of_tenant())
        text = KeyText.new(key.id)
        return MadeKey(await self._keys.rotate(key.id, secret_hash=text.secret_hash, overlap=overlap), text)

    async def revoke(self, key_id: str, /, *, by: Principal) -> None:
        """Refuse a key from now on, on every server within a second.

        Raises:
            KeyNotFound: there is no such key.

        """
        key = await self._visible(key_id, by)
        await self._keys.revoke(key.id)

    async def limit(self, key_id: str, limits: Mapping[str, object], /, *, by: Principal) -> ApiKey:
        """Replace a key's own limits; every server follows within a second.

        Raises:
            KeyNotFound: there is no such key, or it was revoked.
            Forbidden: it would have more than whoever asks.
            InvalidKey: a limit is none.

        """
        key = await self._visible(key_id, by)
        own = _limits(limits)
        require_no_more(own, by=by, of_tenant=await self._of_tenant())
        return await self._keys.limit(key.id, own)

    async def get(self, key_id: str, /, *, by: Principal) -> ApiKey:
        """Return a key; raises `KeyNotFound` where there is none."""
        return await self._visible(key_id, by)

    async def _of_tenant(self) -> LimitSettings:
        return LimitSettings() if self._limits is None else await self._limits()

    async def _visible(self, key_id: str, by: Principal) -> ApiKey:
        key = await self._keys.find(key_id)
        if key is None or not _sees(by, key):
            raise KeyNotFound(key_id)
        return key


def _sees(by: Principal, key: ApiKey) -> bool:
    if key.tenant != by.caller.tenant:
        return by.may(TENANTS)
    return by.is_admin or key.subject == by.caller.subject


def _tenant(tenant: str | None, by: Principal) -> str:
    if tenant not in {None, by.caller.tenant} and not by.may(TENANTS):
        raise Forbidden(TENANTS)
    return tenant or by.caller.tenant


def _checked(wanted: WantedKey, text: KeyText, by: Principal) -> NewApiKey:
    if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
        msg = "must be in the future"
        raise InvalidKey(msg, field="expires_at")
    own = by.caller
    collections = wanted.collections
    if collections is None and by.collections is not None:
        collections = tuple(sorted(by.collections))
    new = NewApiKey(
        id=text.id,
        secret_hash=text.secret_hash,
        name=wanted.name,
        tenant=_tenant(wanted.tenant, by),
        subject=wanted.subject or own.subject,
        groups=wanted.groups if wanted.groups is not None else (own.groups if not wanted.subject else ()),
        scopes=tuple(dict.fromkeys(wanted.scopes)),
        collections=collections,
        expires_at=wanted.expires_at or by.expires_at,
        limits=_limits(wanted.limits, by=by),
    )
    _require_less(principal_of_key(new), by)
    return new


def _limits(limits: Mapping[str, object] | None, *, by: Principal | None = None) -> dict[str, object]:
    try:
        return checked_key_limits(limits or {}) if by is None else inherited(limits, by=by)
    except ValueError as exc:
        raise InvalidKey(str(exc), field="limits") from None


def _require_less(made: Principal, by: Principal) -> None:
    """Raise `Forbidden` where a key could do what `by` cannot."""
    if missing := [scope for scope in sorted(made.scopes) if not by.may(scope)]:
        raise Forbidden(missing[0], f"the key has the scope {missing[0]!r}, which the one that asks does not have")
    if by.collections is not None and not (made.collections or {""}) <= by.collections:
        raise Forbidden(ADMIN, "the key reaches collections that the one that asks does not")
    if by.expires_at is not None and (made.expires_at is None or made.expires_at > by.expires_at):
        raise Forbidden(ADMIN, "the key would outlive the one that asks")
    is_own = made.caller.subject == by.caller.subject and {*made.caller.groups} <= {*by.caller.groups}
    is_elsewhere = made.caller.tenant != by.caller.tenant  # `tenants` was asked for, which is for all of theirs
    if not (by.is_admin or is_own or is_elsewhere):
        raise Forbidden(ADMIN, "keys of other subjects, or with further groups, are an administrator's to make")
