"""Fetching an issuer's keys, through the same guard as web sources: addresses, redirects, time and size are bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from config.settings import AuthSettings, Settings
from ingestion.web.fetching import WebFetcher
from ingestion.web.urls import DEFAULT_PORTS
from server.auth.key_sets import MAX_BYTES, InvalidKeySet, read_object

CONFIGURATION = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Bounds of fetching keys, as `ingestion.web.limits.WebLimits` has them."""

    allowed_ports: Sequence[int]
    allow_private: Sequence[str]
    ca_file: Path | None
    total_timeout: float
    connect_timeout: float
    read_timeout: float
    user_agent: str | None = None
    robots: bool = False
    requests_per_second: float = 100.0
    max_bytes: int = MAX_BYTES
    max_feed_bytes: int = MAX_BYTES
    max_entries: int = 1


async def fetched_keys(settings: Settings, stack: AsyncExitStack) -> Callable[[], Awaitable[bytes]]:
    """Return what fetches the newest keys of the issuer; `stack` closes its connections."""
    fetcher = await stack.enter_async_context(WebFetcher(_limits(settings)))
    auth = settings.auth

    async def fetch() -> bytes:
        return await _read(fetcher, auth.jwt_jwks_url or await _discovered(fetcher, auth))

    return fetch


async def talks_to_issuer(
    settings: Settings, stack: AsyncExitStack
) -> tuple[Callable[[], Awaitable[bytes]], Callable[[str, Mapping[str, str], Mapping[str, str]], Awaitable[bytes]]]:
    """Return what fetches the issuer's OpenID configuration, and what sends it forms; `stack` closes connections."""
    fetcher = await stack.enter_async_context(WebFetcher(_limits(settings)))
    issuer = str(settings.auth.jwt_issuer).removesuffix("/")

    async def configuration() -> bytes:
        return await _read(fetcher, issuer + CONFIGURATION)

    async def post(url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        return await fetcher.post(url, form, headers=headers, limit=MAX_BYTES)

    return configuration, post


async def _discovered(fetcher: WebFetcher, auth: AuthSettings) -> str:
    """Return the address that the issuer's OpenID configuration names.

    Raises:
        InvalidKeySet: it is somebody else's configuration, or names none.

    """
    issuer = str(auth.jwt_issuer)
    configuration = read_object(await _read(fetcher, issuer.removesuffix("/") + CONFIGURATION))
    if configuration.get("issuer") != issuer:
        msg = "the OpenID configuration is of another issuer than FOOTNOTE_AUTH__JWT_ISSUER"
        raise InvalidKeySet(msg)
    url = configuration.get("jwks_uri")
    if not isinstance(url, str) or (issuer.startswith("https:") and not url.startswith("https:")):
        msg = "the OpenID configuration names no `jwks_uri`, or one that is less safe than the issuer"
        raise InvalidKeySet(msg)
    return url


async def _read(fetcher: WebFetcher, url: str) -> bytes:
    page = await fetcher.read(url, limit=MAX_BYTES, accepts=lambda _type, _beginning: True)
    return page.data if page else b""


def _limits(settings: Settings) -> KeyLimits:
    auth = settings.auth
    named = [urlsplit(url) for url in (auth.jwt_issuer, auth.jwt_jwks_url) if url]
    ports = {port for parts in named if (port := parts.port)} | {*DEFAULT_PORTS.values()}
    return KeyLimits(
        allowed_ports=sorted(ports),
        allow_private=auth.jwt_allow_private,
        ca_file=settings.web.ca_file,
        total_timeout=auth.jwt_fetch_timeout,
        connect_timeout=auth.jwt_fetch_timeout,
        read_timeout=auth.jwt_fetch_timeout,
    )
