"""Tokens of an identity provider (JWT): checked, and who they stand for.

A token's header is read before its signature is checked, and so believed in nothing: ``alg`` must be one that the
settings allow *and* that the key found is for, ``kid`` is looked up among the issuer's keys.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jwt
from cachetools import LRUCache
from jwt.exceptions import PyJWTError

from config.settings import AuthSettings
from server.auth.claims import principal_of
from server.errors import Unauthenticated
from server.principal import Principal

KNOWN_SECONDS = 60.0
"""How long a token that was checked is not checked again; it still ends when it says."""

MOST_KNOWN = 1000
MAX_KEY_ID = 512
_REQUIRED = ["exp", "iss", "aud"]
_DEFECTS = (PyJWTError, ValueError, TypeError, OverflowError, RecursionError, AttributeError, KeyError)
"""What is raised for a token that is none: its JSON may hold anything."""


class Keys(Protocol):
    """Where the keys come from that tokens are checked with."""

    async def find(self, key_id: str | None, algorithm: str) -> Any:  # noqa: ANN401 (PyJWT's key, or a secret)
        """Return the key for a key id and an algorithm; None where there is none."""
        ...


class SharedSecret:
    """The secret that an issuer signs with, whatever the key id."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    async def find(self, key_id: str | None, algorithm: str) -> bytes:  # noqa: ARG002 (the protocol's)
        """Return the secret; the settings allow no other algorithms than those that it is for."""
        return self._secret


class Tokens:
    """Checks tokens; use it from one event loop."""

    def __init__(self, settings: AuthSettings, keys: Keys, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._known: LRUCache[bytes, tuple[Principal, float]] = LRUCache(MOST_KNOWN)

    def over(self, settings: AuthSettings) -> Tokens:
        """Return what checks tokens with the same keys by other settings."""
        return Tokens(settings, self._keys, clock=self._clock)

    def at_hand(self, token: str) -> Principal | None:
        """Return whom a token stands for that was checked a moment ago."""
        principal, until = self._known.get(_digest(token), (None, 0.0))
        return principal if self._clock() < until else None

    async def principal_of(self, token: str) -> Principal:
        """Check a token; return whom it stands for.

        Raises:
            Unauthenticated: it is not valid; the message says why.
            KeysUnavailable: the issuer's keys cannot be fetched.

        """
        claims = await self.claims_of(token)
        principal = principal_of(claims, self._settings)
        now = self._clock()
        self._known[_digest(token)] = principal, min(now + KNOWN_SECONDS, float(claims["exp"]))
        return principal

    async def claims_of(self, token: str) -> Mapping[str, Any]:
        """Check a token; return its claims. Raises as `principal_of`."""
        key_id, algorithm = self._header(token)
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            msg = "the token is signed with a key that the issuer does not have"
            raise Unauthenticated(msg)
        return self._claims(token, key, algorithm)

    def _header(self, token: str) -> tuple[str | None, str]:
        try:
            header = jwt.get_unverified_header(token)
        except _DEFECTS:
            msg = "this is neither an API key nor a token"
            raise Unauthenticated(msg) from None
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._settings.algorithms:
            msg = "the token is signed with an algorithm that is not accepted here"
            raise Unauthenticated(msg)
        if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= MAX_KEY_ID):
            msg = "the token's key id is none"
            raise Unauthenticated(msg)
        return key_id, algorithm

    def _claims(self, token: str, key: Any, algorithm: str) -> Mapping[str, Any]:  # noqa: ANN401 (PyJWT's)
        settings = self._settings
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=list(settings.jwt_audience),
                issuer=settings.jwt_issuer,
                leeway=settings.jwt_leeway,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True, "verify_sub": False},
            )
            float(claims["exp"])
        except _DEFECTS as exc:
            known = _REASONS.get(type(exc))  # of a token whose signature was good
            raise Unauthenticated(known or "the token is not valid", is_guess=known is None) from None
        return claims


_REASONS: Mapping[type[BaseException], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.MissingRequiredClaimError: "the token lacks one of the claims exp, iss and aud",
}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
