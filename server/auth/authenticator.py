"""From a key or a token to whom it stands for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from config.errors import FootnoteError
from server.auth.key_text import KeyText
from server.auth.known_tenants import NO_SCOPE, NO_TENANT
from server.errors import Forbidden, TooManyFailures, Unauthenticated
from server.principal import ADMIN, SCOPES, Principal
from storage.caller import Caller
from storage.generation import DEFAULT_TENANT

if TYPE_CHECKING:
    from server.auth.failures import FailedLogins
    from server.auth.known_keys import KnownKeys
    from server.auth.known_tenants import KnownTenants
    from server.auth.last_use import LastUse
    from server.auth.sign_in import SignIn
    from server.auth.tokens import Tokens
    from storage.access.keys import ApiKey, NewApiKey

MAX_LENGTH = 16_384
MOST_WAITING = 32
"""Requests that wait for a check, of all addresses that have sent too many wrong keys or tokens."""

WRONG = "the key or token is not valid"
REVOKED = "the key was revoked"
BOOTSTRAP = Principal(Caller(DEFAULT_TENANT, "bootstrap", sees_all=True), frozenset(SCOPES), key_id="bootstrap")


Check = Callable[[], Awaitable[Principal]]


class Authenticator:
    """Checks keys and tokens.

    An address that has sent too many wrong ones is told to wait, whatever it guesses next. Others may share it, as that
    of a proxy, so what is right is accepted all the same; but of such addresses one credential is checked at a time.

    Args:
        bootstrap: an administrator's key from the settings, if they have one.
        tokens: checks tokens, if the settings name an issuer.
        tenants: whose requests are answered; None: everybody's.
        sessions: checks the tokens of those who signed in in a browser, if anybody can.

    Attributes:
        sign_in: signs people in; None: nobody can sign in in a browser.

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
        sessions: Tokens | None = None,
        sign_in: SignIn | None = None,
    ) -> None:
        self._known = known
        self._used = used
        self._failures = failures
        self._bootstrap = _digest(bootstrap) if bootstrap else None
        self._tokens = tokens
        self._tenants = tenants
        self._sessions = sessions
        self.sign_in = sign_in
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
        return await self._of_tenant(await self._identified(credential, address=address))

    async def principal_of_session(self, token: str, *, address: str) -> Principal:
        """Return whom the token of a browser's session stands for; raises as `principal_of`."""
        if self._sessions is None:
            raise Unauthenticated(WRONG)
        if (principal := self._sessions.at_hand(token)) is None:
            principal = await self._counted(partial(self._sessions.principal_of, token), address)
        return await self._of_tenant(principal)

    async def _of_tenant(self, principal: Principal) -> Principal:
        if self._tenants is None:
            return principal
        since = await self._tenants.require(principal.caller.tenant)
        return principal if principal.tenant_since else replace(principal, tenant_since=since)

    async def require_still(self, who: Principal) -> None:
        """Let whoever was admitted once go on; what cannot be known now stops nobody.

        Raises:
            Unauthenticated: its key was revoked.
            Forbidden: its tenant is suspended, or there is none any more.

        """
        try:
            await self._require_key(who.key_id)
            if self._tenants is not None:
                _require_same(who, await self._tenants.require(who.caller.tenant))
        except (Unauthenticated, Forbidden):
            raise
        except FootnoteError:
            return

    async def _require_key(self, key_id: str | None) -> None:
        if key_id is None or key_id == BOOTSTRAP.key_id:
            return
        key = await self._known.get(key_id)
        if key is None or key.revoked_at is not None:
            raise Unauthenticated(REVOKED, is_guess=False)

    async def _identified(self, credential: str, *, address: str) -> Principal:
        if self._bootstrap and hmac.compare_digest(_digest(credential), self._bootstrap):
            return BOOTSTRAP
        if (principal := self._at_hand(credential)) is not None:
            return principal
        return await self._counted(partial(self._checked, credential), address)

    async def _counted(self, check: Check, address: str) -> Principal:
        """Check what comes from an address, and count it there if it is wrong."""
        if wait := self._failures.wait(address):
            return await self._checked_in_turn(check, wait)
        try:
            return await check()
        except Unauthenticated as exc:
            if exc.is_guess:
                self._failures.add(address)
            raise

    async def _checked_in_turn(self, check: Check, wait: float) -> Principal:
        """Check what comes from an address that is to `wait`."""
        if self._waiting >= MOST_WAITING:
            raise TooManyFailures(wait)
        self._waiting += 1
        try:
            async with self._one_by_one:
                return await check()
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
        return replace(principal_of_key(key), tenant_since=key.tenant_since)


def refusal(key: ApiKey, text: KeyText) -> str | None:
    """Return why a key is refused, or None; more than "wrong" is told to whoever has the secret only."""
    now, given = datetime.now(UTC), text.secret_hash
    is_current = hmac.compare_digest(given, key.secret_hash)
    is_previous = hmac.compare_digest(given, key.previous_hash or bytes(len(given)))
    if not (is_current or is_previous):
        return WRONG
    if key.revoked_at is not None:
        return REVOKED
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
        limits=key.limits,
    )


def _require_same(who: Principal, since: datetime) -> None:
    """Refuse one whose tenant is gone, and its name another's."""
    if who.tenant_since is not None and since > who.tenant_since:
        raise Forbidden(NO_SCOPE, NO_TENANT)


def _accepted(key: ApiKey | None, text: KeyText) -> ApiKey:
    if key is None:
        raise Unauthenticated(WRONG)
    if reason := refusal(key, text):
        raise Unauthenticated(reason, is_guess=reason == WRONG)
    return key


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
