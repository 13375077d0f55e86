"""API keys are made, listed, rotated and revoked here, by whoever may; nobody gives away more than he has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from server.auth.authenticator import principal_of_key
from server.auth.key_text import KeyText
from server.errors import Forbidden, InvalidKey
from server.principal import ADMIN, TENANTS, Principal
from storage.access.keys import ApiKey, NewApiKey
from storage.errors import KeyNotFound

if TYPE_CHECKING:
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


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key, and its text, which nobody can be told again."""

    key: ApiKey
    text: KeyText


class KeyService:
    """Every method raises `FootnoteError`s only, apart from defects; what one may not see is a `KeyNotFound`."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    async def create(self, wanted: WantedKey, /, *, by: Principal) -> MadeKey:
        """Make a key.

        Raises:
            Forbidden: it would be able to do more than whoever asks for it.
            InvalidKey: it has expired already.

        """
        text = KeyText.new()
        new = _checked(wanted, text, by)
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
        text = KeyText.new(key.id)
        return MadeKey(await self._keys.rotate(key.id, secret_hash=text.secret_hash, overlap=overlap), text)

    async def revoke(self, key_id: str, /, *, by: Principal) -> None:
        """Refuse a key from now on, on every server within a second.

        Raises:
            KeyNotFound: there is no such key.

        """
        key = await self._visible(key_id, by)
        await self._keys.revoke(key.id)

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
    )
    _require_less(principal_of_key(new), by)
    return new


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
