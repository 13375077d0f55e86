"""From a key or a token to whom it stands for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from server.auth.key_text import KeyText
from server.errors import TooManyFailures, Unauthenticated
from server.principal import ADMIN, SCOPES, Principal
from storage.caller import Caller
from storage.generation import DEFAULT_TENANT

if TYPE_CHECKING:
    from server.auth.failures import FailedLogins
    from server.auth.known_keys import KnownKeys
    from server.auth.known_tenants import KnownTenants
    from server.auth.last_use import LastUse
    from server.auth.tokens import Tokens
    from storage.access.keys import ApiKey, NewApiKey

MAX_LENGTH = 16_384
MOST_WAITING = 32
"""Requests that wait for a check, of all addresses that have sent too many wrong keys or tokens."""

WRONG = "the key or token is not valid"
BOOTSTRAP = Principal(Caller(DEFAULT_TENANT, "bootstrap", sees_all=True), frozenset(SCOPES), key_id="bootstrap")


class Authenticator:
    """Checks keys and tokens.

    An address that has sent too many wrong ones is told to wait, whatever it guesses next. Others may share it, as that
    of a proxy, so what is right is accepted all the same; but of such addresses one credential is checked at a time.

    Args:
        bootstrap: an administrator's key from the settings, if they have one.
        tokens: checks tokens, if the settings name an issuer.
        tenants: whose requests are answered; None: everybody's.

    """

    def __init__(
        self,
        known: KnownKeys,
        *,
        used: LastUse,
        failures: FailedLogins,
        bootstrap: str | None = None,
        tokens: Tokens | None = None,
        tenants: KnownTenants | None = None,
    ) -> None:
        self._known = known
        self._used = used
        self._failures = failures
        self._bootstrap = _digest(bootstrap) if bootstrap else None
        self._tokens = tokens
        self._tenants = tenants
        self._one_by_one = asyncio.Semaphore(1)
        self._waiting = 0

    async def principal_of(self, credential: str, *, address: str) -> Principal:
        """Return whom a key or a token stands for; `address` is where it came from.

        Raises:
            Unauthenticated: it is not valid.
            TooManyFailures: too many from that address were not.
            Forbidden: its tenant is suspended, or there is none.
            FootnoteError: it cannot be checked now.

        """
        principal = await self._identified(credential, address=address)
        if self._tenants is not None:
            await self._tenants.require(principal.caller.tenant)
        return principal

    async def _identified(self, credential: str, *, address: str) -> Principal:
        if self._bootstrap and hmac.compare_digest(_digest(credential), self._bootstrap):
            return BOOTSTRAP
        if (principal := self._at_hand(credential)) is not None:
            return principal
        if wait := self._failures.wait(address):
            return await self._checked_in_turn(credential, wait)
        try:
            return await self._checked(credential)
        except Unauthenticated as exc:
            if exc.is_guess:
                self._failures.add(address)
            raise

    async def _checked_in_turn(self, credential: str, wait: float) -> Principal:
        """Check what comes from an address that is to `wait`."""
        if self._waiting >= MOST_WAITING:
            raise TooManyFailures(wait)
        self._waiting += 1
        try:
            async with self._one_by_one:
                return await self._checked(credential)
        except Unauthenticated:
            raise TooManyFailures(wait) from None
        finally:
            self._waiting -= 1

    def _at_hand(self, credential: str) -> Principal | None:
        text = KeyText.parse(credential)
        if text is None:
            return self._tokens.at_hand(credential) if self._tokens else None
        key = self._known.at_hand(text.id)
        return self._used_now(key) if key is not None and refusal(key, text) is None else None

    async def _checked(self, credential: str) -> Principal:
        text = KeyText.parse(credential)
        if text is not None:
            return self._used_now(_accepted(await self._known.get(text.id), text))
        if self._tokens is None or credential.count(".") != 2 or len(credential) > MAX_LENGTH:  # noqa: PLR2004 (a JWT's)
            raise Unauthenticated(WRONG)
        return await self._tokens.principal_of(credential)

    def _used_now(self, key: ApiKey) -> Principal:
        self._used.note(key.id)
        return principal_of_key(key)


def refusal(key: ApiKey, text: KeyText) -> str | None:
    """Return why a key is refused, or None; more than "wrong" is told to whoever has the secret only."""
    now, given = datetime.now(UTC), text.secret_hash
    is_current = hmac.compare_digest(given, key.secret_hash)
    is_previous = hmac.compare_digest(given, key.previous_hash or bytes(len(given)))
    if not (is_current or is_previous):
        return WRONG
    if key.revoked_at is not None:
        return "the key was revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "the key has expired"
    if not is_current and (key.previous_until is None or key.previous_until <= now):
        return "the key was rotated, and the time in which the earlier one is good has passed"
    return None


def principal_of_key(key: NewApiKey) -> Principal:
    """Return whom a key stands for."""
    scopes = frozenset(SCOPES.keys() & key.scopes)
    return Principal(
        Caller(key.tenant, key.subject, key.groups, sees_all=ADMIN in scopes),
        scopes,
        None if key.collections is None else frozenset(key.collections),
        key_id=key.id,
        expires_at=key.expires_at,
    )


def _accepted(key: ApiKey | None, text: KeyText) -> ApiKey:
    if key is None:
        raise Unauthenticated(WRONG)
    if reason := refusal(key, text):
        raise Unauthenticated(reason, is_guess=reason == WRONG)
    return key


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
