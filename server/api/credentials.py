"""The key or token of a request: ``Authorization: Bearer …`` or ``X-API-Key: …``."""

from __future__ import annotations

from starlette.types import Scope

from server.errors import Unauthenticated

BEARER = "bearer"
AMBIGUOUS = "the request has more than one key or token; send one"
NEITHER = "a key or token is needed: Authorization: Bearer …, or X-API-Key: …"


def credential_of(scope: Scope) -> str | None:
    """Return the credential of a request; None: it has none.

    Raises:
        Unauthenticated: it has several that differ, or one of another scheme.

    """
    keys, authorizations = _values(scope, b"x-api-key"), _values(scope, b"authorization")
    tokens = [token for value in authorizations if (token := _bearer(value))]
    if authorizations and not tokens and not keys:
        raise Unauthenticated(NEITHER)
    if len(authorizations) > 1 or len({*keys, *tokens}) > 1:
        raise Unauthenticated(AMBIGUOUS)
    return next(iter(tokens or keys), None)


def _bearer(value: str) -> str | None:
    scheme, _, token = value.partition(" ")
    return token.strip(" ") if scheme.lower() == BEARER and token.strip(" ") else None


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip(" \t") for key, value in scope["headers"] if key == name]
