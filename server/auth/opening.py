"""Builds the authenticator from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from config.errors import FootnoteError
from config.settings import AuthSettings, Settings
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

    from server.auth.tokens import Keys, Tokens
    from storage.database import Database

MAX_KEY_FILE = 1024


class AuthUnusable(FootnoteError):
    """A setting of authentication, or a file that one names, cannot be used."""

    slug = "internal"


@asynccontextmanager
async def open_authenticator(settings: Settings, database: Database) -> AsyncIterator[Authenticator]:
    """Follow API keys, and the issuer's keys, until the block ends.

    Raises:
        AuthUnusable: the file with the bootstrap key or the issuer's keys cannot be used, or a scope is none.

    """
    async with AsyncExitStack() as stack:
        keys = ApiKeys(database)
        known, used = KnownKeys(keys, grace=settings.auth.key_grace), LastUse(keys)
        await stack.enter_async_context(known.followed(database))
        await stack.enter_async_context(used.written())
        yield Authenticator(
            known,
            used=used,
            failures=FailedLogins(a_minute=settings.auth.failed_logins),
            bootstrap=_bootstrap(settings.auth),
            tokens=await _tokens(settings, stack) if settings.auth.jwt_issuer else None,
            tenants=KnownTenants(Tenants(database), grace=settings.auth.key_grace),
        )


def _bootstrap(auth: AuthSettings) -> str | None:
    if auth.bootstrap_key_file is None:
        return auth.bootstrap_key.get_secret_value() if auth.bootstrap_key else None
    try:
        key = _read(auth.bootstrap_key_file, MAX_KEY_FILE).decode().strip()
        AuthSettings(bootstrap_key=SecretStr(key))  # the same rules
    except (OSError, ValueError):
        msg = (
            f"FOOTNOTE_AUTH__BOOTSTRAP_KEY_FILE: {auth.bootstrap_key_file} cannot be read, or holds no key: 32 to 512 "
            "printable ASCII characters without spaces"
        )
        raise AuthUnusable(msg) from None
    return key


async def _tokens(settings: Settings, stack: AsyncExitStack) -> Tokens:
    if unknown := [scope for scope in settings.auth.jwt_default_scopes if scope not in SCOPES]:
        msg = f"FOOTNOTE_AUTH__JWT_DEFAULT_SCOPES: {unknown[0]!r} is no scope; there are {', '.join(SCOPES)}"
        raise AuthUnusable(msg)
    from server.auth.tokens import Tokens  # PyJWT and cryptography are imported only where tokens are used

    return Tokens(settings.auth, await _keys(settings, stack))


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
