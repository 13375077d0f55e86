"""Builds the authenticator from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from config.errors import FootnoteError
from config.settings import Settings
from server.auth.authenticator import Authenticator
from server.auth.failures import FailedLogins
from server.auth.known_keys import KnownKeys
from server.auth.known_tenants import KnownTenants
from server.auth.last_use import LastUse
from server.principal import SCOPES
from storage.access.keys import ApiKeys
from storage.access.tenants import Tenants

if TYPE_CHECKING:
    from pathlib import Path

    from server.auth.sign_in import SignIn
    from server.auth.tokens import Keys, Tokens
    from storage.database import Database


class AuthUnusable(FootnoteError):
    """A setting of authentication, or a file that one names, cannot be used."""

    slug = "internal"


@asynccontextmanager
async def open_authenticator(settings: Settings, database: Database) -> AsyncIterator[Authenticator]:
    """Follow API keys, and the issuer's keys, until the block ends.

    Raises:
        AuthUnusable: the file with the issuer's keys cannot be used, or a scope is none.

    """
    async with AsyncExitStack() as stack:
        keys = ApiKeys(database)
        known, used = KnownKeys(keys, grace=settings.auth.key_grace), LastUse(keys)
        await stack.enter_async_context(known.followed(database))
        await stack.enter_async_context(used.written())
        tokens = await _tokens(settings, stack) if settings.auth.jwt_issuer else None
        sessions, sign_in = None, None
        if tokens is not None and settings.auth.login_client_id is not None:
            sessions, sign_in = await _sign_in(settings, tokens, stack)
        yield Authenticator(
            known,
            used=used,
            failures=FailedLogins(a_minute=settings.auth.failed_logins),
            bootstrap=bootstrap.get_secret_value() if (bootstrap := settings.auth.bootstrap_key) else None,
            tokens=tokens,
            sessions=sessions,
            sign_in=sign_in,
            tenants=KnownTenants(Tenants(database), grace=settings.auth.key_grace),
        )


async def _tokens(settings: Settings, stack: AsyncExitStack) -> Tokens:
    if unknown := [scope for scope in settings.auth.jwt_default_scopes if scope not in SCOPES]:
        msg = f"FOOTNOTE_AUTH__JWT_DEFAULT_SCOPES: {unknown[0]!r} is no scope; there are {', '.join(SCOPES)}"
        raise AuthUnusable(msg)
    from server.auth.tokens import Tokens  # PyJWT and cryptography are imported only where tokens are used

    return Tokens(settings.auth, await _keys(settings, stack))


async def _sign_in(settings: Settings, tokens: Tokens, stack: AsyncExitStack) -> tuple[Tokens, SignIn]:
    """Return what checks the tokens of browsers' sessions, and what signs people in.

    An ID token is for the client, and so good in a cookie alone: what is sent as a token is for the audience.
    """
    from server.auth.fetched_keys import talks_to_issuer
    from server.auth.sign_in import SignIn

    auth = settings.auth
    audiences = (*auth.jwt_audience, str(auth.login_client_id))
    sessions = tokens.over(auth.model_copy(update={"jwt_audience": audiences}))
    configuration, post = await talks_to_issuer(settings, stack)
    return sessions, SignIn(auth, sessions=sessions, configuration=configuration, post=post)


async def _keys(settings: Settings, stack: AsyncExitStack) -> Keys:
    from server.auth.fetched_keys import fetched_keys
    from server.auth.issuer_keys import IssuerKeys
    from server.auth.tokens import SharedSecret

    auth = settings.auth
    if auth.jwt_secret is not None:
        return SharedSecret(auth.jwt_secret.get_secret_value())
    load = _from_file(auth.jwt_jwks_file) if auth.jwt_jwks_file else await fetched_keys(settings, stack)
    keys = IssuerKeys(load, refresh=auth.jwt_refresh, cooldown=auth.jwt_cooldown)
    stack.push_async_callback(keys.close)
    return keys


def _from_file(path: Path) -> Callable[[], Awaitable[bytes]]:
    """Return what reads the keys of a file, which can be used now."""
    from server.auth.key_sets import MAX_BYTES, InvalidKeySet, KeySet

    try:
        KeySet.parse(_read(path, MAX_BYTES + 1))
    except (OSError, InvalidKeySet) as exc:
        msg = f"FOOTNOTE_AUTH__JWT_JWKS_FILE: {path} cannot be used: {exc}"
        raise AuthUnusable(msg) from None
    return partial(asyncio.to_thread, _read, path, MAX_BYTES + 1)


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)
