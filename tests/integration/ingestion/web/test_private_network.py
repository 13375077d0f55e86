"""No way to what is not public: each form of request forgery, against a real server that must see nothing of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.web_server import Limits, limits_for, make_tls, page, redirect, serve

from ingestion.errors import FetchFailed, FetchRefused
from ingestion.web.fetching import Fetched, WebFetcher

PRIVATE_HOSTS = """
    127.0.0.1 localhost localhost. LOCALHOST 0.0.0.0 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001
    [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:0:127.0.0.1] [2002:7f00:1::]
    [64:ff9b::127.0.0.1] [64:ff9b:1::127.0.0.1] [2001:0:7f00:1::] [fe80::1] [fe80::1%25lo] [fc00::1] [fd00:ec2::254]
    [ff02::1] 169.254.169.254 100.100.100.200 10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 224.0.0.1 255.255.255.255
    user@127.0.0.1 example.org@127.0.0.1 example.org\\@127.0.0.1 ①②⑦.⓪.⓪.① 127。0。0。1 %31%32%37.0.0.1
    127.0.0.1%00.example.org
""".split()  # noqa: SIM905 (easier to read)  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
async def test_no_spelling_of_a_private_host_is_connected_to(host: str, tmp_path: Path):
    async with (
        serve({"/": page("secret")}) as site,
        WebFetcher(Limits(allowed_ports=(site.port,), robots=False)) as fetcher,
    ):
        with pytest.raises(FetchRefused):
            await fetcher.fetch(f"http://{host}:{site.port}/", folder=tmp_path)
        assert site.connections == 0


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
async def test_no_redirect_leads_to_a_private_host(host: str, tmp_path: Path):
    async with serve({"/secret": page("secret")}) as inside, serve() as site:
        site.routes["/"] = redirect(f"http://{host}:{inside.port}/secret")
        limits = limits_for(site, inside, allow_private=("open.example",), robots=False)
        async with WebFetcher(limits, resolve=resolving({"open.example": ["127.0.0.1"]})) as fetcher:
            with pytest.raises(FetchRefused):
                await fetcher.fetch(site.url(host="open.example"), folder=tmp_path)
        assert site.connections == 1
        assert inside.connections == 0


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "//127.0.0.1:22/"]
)
async def test_no_redirect_leads_to_another_scheme_or_port(location: str, tmp_path: Path):
    async with serve({"/": redirect(location)}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchRefused):
            await fetcher.fetch(site.url(), folder=tmp_path)


async def test_a_name_is_refused_if_one_of_its_addresses_is_private(tmp_path: Path):
    async with serve({"/": page("secret")}) as site:
        for addresses in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["::ffff:127.0.0.1"], []):
            resolve = resolving({"rebind.example": addresses})
            async with WebFetcher(Limits(allowed_ports=(site.port,)), resolve=resolve) as fetcher:
                with pytest.raises(FetchRefused) as caught:
                    await fetcher.fetch(site.url(host="rebind.example"), folder=tmp_path)
            assert "127.0.0.1" not in str(caught.value)
        assert site.connections == 0


async def test_a_name_that_is_rebound_between_two_lookups_reaches_nothing_private(tmp_path: Path):
    """First public, then private: the address that was checked is the one dialled, and each connection checks anew."""
    answers = iter([["192.88.99.1"], ["127.0.0.1"], ["127.0.0.1"]])
    lookups = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        lookups.append(host)
        return next(answers)

    async with serve({"/": page("secret")}) as site:
        # a network that leads nowhere stands for a public address, which a test may not call
        limits = Limits(
            allowed_ports=(site.port,), allow_private=("192.88.99.0/24",), robots=False, connect_timeout=0.3
        )
        async with WebFetcher(limits, resolve=rebinding) as fetcher:
            with pytest.raises(FetchFailed):
                await fetcher.fetch(site.url(host="rebind.example"), folder=tmp_path)
            assert lookups == ["rebind.example"]
            with pytest.raises(FetchRefused):
                await fetcher.fetch(site.url(host="rebind.example"), folder=tmp_path)
        assert site.connections == 0


async def test_the_page_after_robots_txt_is_judged_anew(tmp_path: Path):
    """The site closes the connection after robots.txt, so that the page needs another look-up."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return next(answers)

    async with serve({"/": page("secret"), "/robots.txt": page("", Connection="close")}) as site:
        limits = limits_for(site, allow_private=("127.0.0.1/32",))
        async with WebFetcher(limits, resolve=rebinding) as fetcher:
            with pytest.raises(FetchRefused):
                await fetcher.fetch(site.url(host="rebind.example"), folder=tmp_path)
        assert site.paths() == []


async def test_the_real_resolver_is_judged_too(tmp_path: Path):
    async with serve({"/": page("secret")}) as site, WebFetcher(Limits(allowed_ports=(site.port,))) as fetcher:
        for host in ("localhost", socket.gethostname()):
            with pytest.raises((FetchRefused, FetchFailed)):
                await fetcher.fetch(site.url(host=host), folder=tmp_path)
        assert site.connections == 0


async def test_a_name_server_that_hangs_is_given_up_in_time(tmp_path: Path):
    async def hanging(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(3600)
        return []

    async with WebFetcher(Limits(connect_timeout=0.05, robots=False), resolve=hanging) as fetcher:
        with pytest.raises(FetchFailed, match="did not answer in time"):
            await fetcher.fetch("http://slow.example/", folder=tmp_path)


async def test_an_address_that_is_dead_leaves_time_for_the_next(tmp_path: Path):
    resolve = resolving({"two.example": ["127.0.0.2", "127.0.0.1"]})
    async with serve({"/": page("<p>here")}) as site, WebFetcher(limits_for(site), resolve=resolve) as fetcher:
        fetched = await fetcher.fetch(site.url(host="two.example"), folder=tmp_path)
    assert isinstance(fetched, Fetched)


async def test_proxies_and_passwords_of_the_environment_are_not_used(monkeypatch, tmp_path: Path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password secret")
    monkeypatch.setenv("NETRC", str(netrc))
    async with serve({"/": page("<p>here")}) as site, serve() as proxy, WebFetcher(limits_for(site)) as fetcher:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        await fetcher.fetch(site.url(), folder=tmp_path)
        assert proxy.connections == 0
        assert all("authorization" not in asked.headers for asked in site.asked)


async def test_over_tls_the_certificate_must_be_that_of_the_name(tmp_path: Path):
    """The connection goes to a number; the name is what TLS sees and checks, and what the Host header says."""
    tls, authority = make_tls(tmp_path, "good.example")
    resolve = resolving({"good.example": ["127.0.0.1"], "bad.example": ["127.0.0.1"]})
    async with serve({"/": page("<p>here")}, tls=tls) as site:
        async with WebFetcher(limits_for(site, ca_file=authority), resolve=resolve) as fetcher:
            fetched = await fetcher.fetch(site.url(host="good.example"), folder=tmp_path)
            assert isinstance(fetched, Fetched)
            assert site.asked[-1].headers["host"] == f"good.example:{site.port}"
            with pytest.raises(FetchRefused, match="certificate"):
                await fetcher.fetch(site.url(host="bad.example"), folder=tmp_path)
        async with WebFetcher(limits_for(site, robots=False), resolve=resolve) as fetcher:
            with pytest.raises(FetchRefused, match="certificate"):
                await fetcher.fetch(site.url(host="good.example"), folder=tmp_path)


async def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path):
    tls, authority = make_tls(tmp_path, "good.example")
    resolve = resolving({"good.example": ["127.0.0.1"]})
    async with serve({"/": page("plain")}) as plain, serve(tls=tls) as site:
        site.routes["/"] = redirect(plain.url(host="good.example"))
        async with WebFetcher(limits_for(site, plain, ca_file=authority), resolve=resolve) as fetcher:
            with pytest.raises(FetchRefused, match="from https to http"):
                await fetcher.fetch(site.url(host="good.example"), folder=tmp_path)
        assert plain.connections == 0


def resolving(known: dict[str, list[str]]):
    async def resolve(host: str, _port: int) -> Sequence[str]:
        return known.get(host, ["127.0.0.1"])

    return resolve
