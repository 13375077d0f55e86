"""Signing in with the issuer in a browser: OpenID Connect's code flow with PKCE (RFC 7636), through the server.

The browser gets neither the issuer's answers nor the client's secret to see, but one cookie that no script can read: a
token of the issuer's, which each request's check looks at as at any other. The server keeps nothing of it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode, urlsplit

from server.auth.browser import LONGEST_TOKEN, Pending
from server.auth.failures import FailedLogins
from server.auth.key_sets import InvalidKeySet, read_object
from server.errors import SignInFailed, TooManyFailures, Unauthenticated

if TYPE_CHECKING:
    from config.settings import AuthSettings
    from server.auth.tokens import Tokens

Post = Callable[[str, Mapping[str, str], Mapping[str, str]], Awaitable[bytes]]
"""Sends a form with headers to an address, and returns the answer's body."""

LONGEST = 4096
"""Characters of a code."""

CHALLENGE = "S256"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The issuer's addresses, as its OpenID configuration names them."""

    authorize: str
    token: str
    end: str | None


class SignIn:
    """Signs people in; use it from one event loop.

    Args:
        settings: the client's id and secret, the issuer.
        sessions: checks the tokens that cookies hold.
        configuration: fetches the issuer's OpenID configuration.
        post: sends forms to the issuer.

    """

    def __init__(
        self,
        settings: AuthSettings,
        *,
        sessions: Tokens,
        configuration: Callable[[], Awaitable[bytes]],
        post: Post,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._configuration = configuration
        self._post = post
        self._clock = clock
        self._endpoints: Endpoints | None = None
        self._read_at = 0.0
        self._failures = FailedLogins(a_minute=settings.failed_logins)

    async def begin(self, back: str) -> tuple[str, Pending]:
        """Return the issuer's address to send a browser to, and what the browser keeps; `back` is where it returns.

        Raises:
            SignInFailed: the issuer's configuration cannot be used.
            FootnoteError: it cannot be fetched.

        """
        endpoints = await self._found()
        pending = Pending(*(secrets.token_urlsafe(32) for _ in range(3)))
        asked = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": back,
            "scope": self._settings.login_scope,
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": challenge_of(pending.verifier),
            "code_challenge_method": CHALLENGE,
        }
        joint = "&" if urlsplit(endpoints.authorize).query else "?"
        return f"{endpoints.authorize}{joint}{urlencode(asked)}", pending

    async def finish(self, given: Mapping[str, str], pending: Pending | None, back: str, *, address: str) -> str:
        """Return the token that stands for whoever came back from the issuer.

        Args:
            given: the parameters that the issuer sent the browser back with.
            pending: what the browser kept.
            back: as it was for `begin`.
            address: where the browser is.

        Raises:
            SignInFailed: it is another one who came back, or the issuer did not let him in; the message says which.
            TooManyFailures: too many from that address failed.
            FootnoteError: the issuer cannot be reached.

        """
        if wait := self._failures.wait(address):
            raise TooManyFailures(wait)
        try:
            return await self._finished(given, pending, back)
        except (SignInFailed, Unauthenticated) as exc:
            self._failures.add(address)
            raise SignInFailed(str(exc)) from None

    async def end(self, back: str) -> str | None:
        """Return the issuer's address at which a browser signs out there, too; None where it has none."""
        endpoint = (await self._found()).end
        if endpoint is None:
            return None
        joint = "&" if urlsplit(endpoint).query else "?"
        return f"{endpoint}{joint}{urlencode({'client_id': self._client, 'post_logout_redirect_uri': back})}"

    async def _finished(self, given: Mapping[str, str], pending: Pending | None, back: str) -> str:
        if pending is None or not hmac.compare_digest(_bytes(given.get("state", "")), _bytes(pending.state)):
            msg = "the browser that came back is not the one that left, or it took more than ten minutes"
            raise SignInFailed(msg)
        issuer = given.get("iss")  # RFC 9207
        if issuer is not None and issuer != self._settings.jwt_issuer:
            msg = "another issuer than FOOTNOTE_AUTH__JWT_ISSUER sent the browser back"
            raise SignInFailed(msg)
        code = given.get("code", "")
        if "error" in given or not 0 < len(code) <= LONGEST:
            msg = "the identity provider did not let anybody in"
            raise SignInFailed(msg)
        told = await self._exchanged(code, pending, back)
        identity = _token(told, "id_token")
        claims = await self._sessions.claims_of(identity)
        self._require_own(claims, pending)
        access = told.get("access_token")
        return access if isinstance(access, str) and await self._is_for_us(access, claims) else identity

    async def _exchanged(self, code: str, pending: Pending, back: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "client_id": self._client,
            "code_verifier": pending.verifier,
        }
        headers = {"Accept": "application/json"}
        if (secret := self._settings.login_client_secret) is not None:
            pair = f"{quote_plus(self._client)}:{quote_plus(secret.get_secret_value())}"  # RFC 6749, 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        try:
            return read_object(await self._post((await self._found()).token, form, headers))
        except InvalidKeySet:
            msg = "the identity provider's answer is no JSON object"
            raise SignInFailed(msg) from None

    def _require_own(self, claims: Mapping[str, Any], pending: Pending) -> None:
        """Refuse an ID token that was made for another client, or for another sign-in."""
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        party = claims.get("azp", self._client)
        if self._client not in audience or party != self._client:
            msg = "the ID token is for another client"
            raise SignInFailed(msg)
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(_bytes(nonce), _bytes(pending.nonce)):
            msg = "the ID token is of another sign-in"
            raise SignInFailed(msg)

    async def _is_for_us(self, token: str, identity: Mapping[str, Any]) -> bool:
        """Tell whether an access token is one for this server: it then has the scopes that the issuer gives for it."""
        if token.count(".") != 2 or len(token) > LONGEST_TOKEN:  # noqa: PLR2004 (a JWT's)
            return False
        try:
            claims = await self._sessions.claims_of(token)
        except Unauthenticated:
            return False
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        return claims.get("sub") == identity.get("sub") and not {*audience}.isdisjoint(self._settings.jwt_audience)

    async def _found(self) -> Endpoints:
        """Return the issuer's addresses; they are looked up again as often as its keys are."""
        age = self._clock() - self._read_at
        if self._endpoints is None or age >= self._settings.jwt_refresh:
            self._endpoints = _endpoints(await self._configuration(), str(self._settings.jwt_issuer))
            self._read_at = self._clock()
        return self._endpoints

    @property
    def _client(self) -> str:
        return str(self._settings.login_client_id)


def challenge_of(verifier: str) -> str:
    """Return the challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).decode().rstrip("=")


def _endpoints(document: bytes, issuer: str) -> Endpoints:
    try:
        told = read_object(document)
    except InvalidKeySet:
        told = {}
    if told.get("issuer") != issuer:
        msg = "the OpenID configuration is of another issuer than FOOTNOTE_AUTH__JWT_ISSUER"
        raise SignInFailed(msg)
    found = [told.get(name) for name in ("authorization_endpoint", "token_endpoint")]
    end = told.get("end_session_endpoint")
    is_safe = ("https",) if issuer.startswith("https:") else ("https", "http")
    if not all(isinstance(each, str) and urlsplit(each).scheme in is_safe for each in found):
        msg = "the OpenID configuration names no endpoints for signing in, or some less safe than the issuer"
        raise SignInFailed(msg)
    has_end = isinstance(end, str) and urlsplit(end).scheme in is_safe
    return Endpoints(str(found[0]), str(found[1]), str(end) if has_end else None)


def _token(told: Mapping[str, Any], name: str) -> str:
    token = told.get(name)
    if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN:
        msg = f"the identity provider's answer has no {name}, or one of more than {LONGEST_TOKEN} characters"
        raise SignInFailed(msg)
    return token


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
