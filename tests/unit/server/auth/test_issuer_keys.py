"""The issuer's keys: fetched through the guard, kept when that fails, refetched seldom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from support.tokens import AUDIENCE, Issuer
from support.web_server import Site, endless, page, redirect, reply, serve

from config.settings import AuthSettings, Settings
from server.auth.fetched_keys import fetched_keys
from server.auth.issuer_keys import IssuerKeys, KeysUnavailable
from server.auth.key_sets import InvalidKeySet, KeySet

CONFIGURATION = "/realm/.well-known/openid-configuration"


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Documents to load, one after another; the last one again and again."""

    def __init__(self, *documents: bytes | Exception) -> None:
        self.documents = list(documents)
        self.loads = 0

    async def __call__(self) -> bytes:
        self.loads += 1
        await asyncio.sleep(0)
        document = self.documents.pop(0) if len(self.documents) > 1 else self.documents[0]
        if isinstance(document, Exception):
            raise document
        return document


ONE = Issuer()
STRANGE = [{name: strange} for name in ("kty", "use", "alg", "key_ops") for strange in ([name], {name: 1}, 7, "?")]


def keys_of(source: Source, clock: Clock) -> IssuerKeys:
    return IssuerKeys(source, refresh=3600, cooldown=30, clock=clock)


async def test_keys_are_loaded_once_for_all_who_wait() -> None:
    source = Source(ONE.jwks())
    keys = keys_of(source, Clock())
    found = await asyncio.gather(*(keys.find("rsa", "RS256") for _ in range(50)))
    assert None not in found
    assert source.loads == 1


async def test_an_unknown_key_id_loads_them_again_once_and_then_not_for_a_while() -> None:
    source, clock = Source(ONE.jwks("ec"), ONE.jwks("rsa", "ec")), Clock()
    keys = keys_of(source, clock)
    assert await keys.find("ec", "ES256")
    assert await keys.find("rsa", "RS256") is None  # they were just loaded
    clock.now += 31
    assert await keys.find("rsa", "RS256")
    assert source.loads == 2
    for _ in range(100):
        assert await keys.find("unknown", "RS256") is None
    assert source.loads == 2
    clock.now += 31
    await asyncio.gather(*(keys.find(f"unknown {number}", "RS256") for number in range(100)))
    assert source.loads == 3


async def test_keys_are_kept_when_loading_fails_and_go_when_the_issuer_drops_them() -> None:
    source, clock = Source(ONE.jwks(), OSError("down"), b"<html>", ONE.jwks("ec")), Clock()
    keys = keys_of(source, clock)
    assert await keys.find("rsa", "RS256")
    for _ in range(2):
        clock.now += 3700
        assert await keys.find("rsa", "RS256")
        await keys._loaded()
    clock.now += 3700
    assert await keys.find("rsa", "RS256")  # nobody waits for the newer ones
    await keys._loaded()
    assert await keys.find("rsa", "RS256") is None


async def test_without_any_keys_a_token_cannot_be_checked_and_that_is_said() -> None:
    source, clock = Source(OSError("down"), ONE.jwks()), Clock()
    keys = keys_of(source, clock)
    for _ in range(20):
        with pytest.raises(KeysUnavailable):
            await keys.find("rsa", "RS256")
    assert source.loads == 1
    clock.now += 3
    assert await keys.find("rsa", "RS256")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [7, null, "x"]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]}',
        b'{"keys": [{"kty": "RSA", "use": "enc"}]}',
        b'{"keys": [' + b"{}," * 200 + b"{}]}",
        b"[" * 100_000,
        b" " * 300_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_set_of_public_keys_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        KeySet.parse(document)


@pytest.mark.parametrize(
    "broken",
    [{"n": "AQAB"}, {"n": 7}, {"e": None}, {"n": "é"}, {"e": "AA"}, {"kid": {"a": 1}}, {"kid": ["rsa"]}, *STRANGE],
)
def test_a_broken_key_harms_no_other(broken: dict[str, Any]) -> None:
    keys = KeySet.parse(json.dumps({"keys": [ONE.jwk("rsa", **broken), ONE.jwk("ec")]}).encode())
    assert keys.find("rsa", "RS256") is None
    assert keys.find("ec", "ES256")


def test_the_private_half_of_a_key_is_not_read() -> None:
    from jwt.algorithms import RSAAlgorithm

    private = RSAAlgorithm.to_jwk(ONE.keys["rsa"], as_dict=True)
    found = KeySet.parse(json.dumps({"keys": [{**private, "key_ops": None, "kid": "rsa"}]}).encode()).find(
        "rsa", "RS256"
    )
    assert found
    assert not hasattr(found.key, "private_numbers")


@asynccontextmanager
async def provider(**changes: Any) -> AsyncIterator[Site]:
    """Serve an issuer's configuration and keys."""
    async with serve() as site:
        issuer = site.url("/realm")
        configuration = {"issuer": issuer, "jwks_uri": site.url("/keys"), **changes}
        site.routes[CONFIGURATION] = page(json.dumps(configuration), content_type="application/json")
        site.routes["/keys"] = page(ONE.jwks(), content_type="application/json")
        yield site


async def fetch(site: Site, **auth: Any) -> bytes:
    chosen = {"jwt_issuer": site.url("/realm"), "jwt_allow_private": ("127.0.0.1/32",), "jwt_fetch_timeout": 1, **auth}
    settings = Settings(auth=AuthSettings(jwt_audience=(AUDIENCE,), **chosen), _env_file=None)
    async with AsyncExitStack() as stack:
        return await (await fetched_keys(settings, stack))()


async def test_keys_are_found_by_the_issuer_s_configuration() -> None:
    async with provider() as site:
        assert await fetch(site) == ONE.jwks()
        assert site.paths() == [CONFIGURATION, "/keys"]
        assert "/robots.txt" not in [asked.path for asked in site.asked]


async def test_keys_are_fetched_from_the_address_of_the_settings() -> None:
    async with provider() as site:
        assert await fetch(site, jwt_jwks_url=site.url("/keys")) == ONE.jwks()
        assert site.paths() == ["/keys"]


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://169.254.169.254/latest"},
        {"jwks_uri": "http://10.0.0.1/keys"},
        {"jwks_uri": "http://127.0.0.1:22/"},
        {"jwks_uri": "ftp://login.example/keys"},
        {"jwks_uri": "//"},
    ],
)
async def test_a_configuration_leads_nowhere_that_web_sources_may_not_go(changes: dict[str, Any]) -> None:
    async with provider(**changes) as site:
        keys = IssuerKeys(lambda: fetch(site), refresh=3600, cooldown=30)
        with pytest.raises(KeysUnavailable):
            await keys.find("rsa", "RS256")
        assert site.paths() == [CONFIGURATION]


@pytest.mark.parametrize(
    "answer",
    [
        reply(500),
        reply(404),
        redirect("http://10.0.0.1/keys"),
        endless(b"x" * 65_536),
        endless(b" ", pause=0.05),
        page(b"{}"),
    ],
)
async def test_whatever_is_answered_ends_in_bounded_time(answer: Any) -> None:
    async with provider() as site, asyncio.timeout(10):
        site.routes["/keys"] = answer
        keys = IssuerKeys(lambda: fetch(site), refresh=3600, cooldown=30)
        with pytest.raises(KeysUnavailable):
            await keys.find("rsa", "RS256")


async def test_a_private_address_needs_leave() -> None:
    async with provider() as site:
        keys = IssuerKeys(lambda: fetch(site, jwt_allow_private=()), refresh=3600, cooldown=30)
        with pytest.raises(KeysUnavailable):
            await keys.find("rsa", "RS256")
        assert site.connections == 0
