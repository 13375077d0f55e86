"""Pages from a real server: redirects, bounds, conditional requests, robots.txt."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from pathlib import Path

import pytest
from support.web_server import Limits, endless, limits_for, page, redirect, reply, serve

from config.version import VERSION
from ingestion.errors import FetchFailed, FetchRefused
from ingestion.readers import read
from ingestion.web.fetching import Fetched, NotModified, Validators, WebFetcher
from ingestion.web.pace import MAX_WAIT_SECONDS


async def fetch(fetcher: WebFetcher, url: str, folder: Path, **options: object) -> Fetched:
    fetched = await fetcher.fetch(url, folder=folder, **options)
    assert isinstance(fetched, Fetched)
    return fetched


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def content(fetched: Fetched) -> bytes:
    return fetched.path.read_bytes()


async def test_a_page_becomes_a_file_that_the_readers_read(tmp_path: Path):
    html = "<title>Guide</title><p>" + "Set the port with FOOTNOTE_SERVER__PORT. " * 10
    async with serve({"/": page(html)}) as site, WebFetcher(limits_for(site)) as fetcher:
        fetched = await fetch(fetcher, site.url("/#part"), tmp_path)
    assert fetched.path.name == "index.html"
    assert fetched.path.parent.parent == tmp_path
    assert (fetched.url, fetched.final_url, fetched.media_type) == (site.url(), site.url(), "text/html")
    assert fetched.size == len(html) == len(content(fetched))
    assert "FOOTNOTE_SERVER__PORT" in read(fetched.path, data=content(fetched)).text
    assert site.asked[-1].headers["user-agent"] == f"Footnote/{VERSION}"
    assert site.asked[-1].headers["host"] == f"127.0.0.1:{site.port}"


async def test_redirects_are_followed_and_the_last_page_gives_its_name(tmp_path: Path):
    routes = {"/a": redirect("/b?x=1", status=301), "/b": redirect("c", status=308), "/c": page("<p>here")}
    async with serve(routes) as site, WebFetcher(limits_for(site)) as fetcher:
        fetched = await fetch(fetcher, site.url("/a"), tmp_path)
    assert (fetched.url, fetched.final_url) == (site.url("/a"), site.url("/c"))
    assert fetched.path.name == "c.html"
    assert site.paths() == ["/a", "/b?x=1", "/c"]


async def test_a_circle_of_redirects_ends(tmp_path: Path):
    async with serve({"/": redirect("/")}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchRefused, match="redirects more than 5 times"):
            await fetcher.fetch(site.url(), folder=tmp_path)
    assert len(site.paths()) == 6


async def test_a_body_that_drips_is_given_up_when_the_time_is_over(tmp_path: Path):
    async with (
        serve({"/": endless(b".", pause=0.02)}) as site,
        WebFetcher(limits_for(site, total_timeout=0.3)) as fetcher,
    ):
        with pytest.raises(FetchFailed, match="took longer than"):
            await fetcher.fetch(site.url(), folder=tmp_path)
    assert left_in(tmp_path) == []


async def test_silence_is_given_up(tmp_path: Path):
    async def silent(_asked, _writer):
        await asyncio.sleep(3600)

    async with serve({"/": silent}) as site, WebFetcher(limits_for(site, read_timeout=0.2)) as fetcher:
        with pytest.raises(FetchFailed, match="did not answer in time"):
            await fetcher.fetch(site.url(), folder=tmp_path)


async def test_headers_without_end_are_given_up(tmp_path: Path):
    async def shouting(_asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async with serve({"/": shouting}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchFailed):
            await fetcher.fetch(site.url(), folder=tmp_path)


async def test_a_body_without_end_is_given_up_in_bounded_memory(tmp_path: Path):
    async with (
        serve({"/": endless(b"x" * 65_536)}) as site,
        WebFetcher(limits_for(site, max_bytes=50_000_000)) as fetcher,
    ):
        tracemalloc.start()
        with pytest.raises(FetchRefused, match="longer than 50,000,000 bytes"):
            await fetcher.fetch(site.url(), folder=tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000
    assert left_in(tmp_path) == []


async def test_a_length_that_is_too_much_is_believed_before_the_body_comes(tmp_path: Path):
    async def promising(_asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000000000\r\n\r\n")

    async with serve({"/": promising}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchRefused, match="longer than"):
            await fetcher.fetch(site.url(), folder=tmp_path)


@pytest.mark.parametrize("members", [1, 3])
async def test_a_packed_page_is_unpacked(tmp_path: Path, members: int):
    html = b"<p>" + b"Footnote " * 10_000
    packed = b"".join(gzip.compress(html) for _ in range(members))
    async with serve({"/": page(packed, Content_Encoding="gzip")}) as site, WebFetcher(limits_for(site)) as fetcher:
        fetched = await fetch(fetcher, site.url(), tmp_path)
    assert content(fetched) == html * members
    assert site.asked[-1].headers["accept-encoding"] == "gzip"


async def test_a_bomb_of_gzip_is_given_up_in_bounded_memory(tmp_path: Path):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(200)), packer.flush()])
    assert len(bomb) < 300_000
    async with (
        serve({"/": page(bomb, Content_Encoding="gzip")}) as site,
        WebFetcher(limits_for(site, max_bytes=20_000_000)) as fetcher,
    ):
        tracemalloc.start()
        with pytest.raises(FetchRefused, match="longer than 20,000,000 bytes"):
            await fetcher.fetch(site.url(), folder=tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate", "compress"])
async def test_a_coding_that_was_not_asked_for_is_refused(tmp_path: Path, coding: str):
    async with (
        serve({"/": page(b"x" * 1000, Content_Encoding=coding)}) as site,
        WebFetcher(limits_for(site)) as fetcher,
    ):
        with pytest.raises(FetchRefused, match="not asked for"):
            await fetcher.fetch(site.url(), folder=tmp_path)


@pytest.mark.parametrize("cut", [10, -4])
async def test_a_packed_page_that_is_cut_short_or_damaged_fails_for_now(tmp_path: Path, cut: int):
    packed = gzip.compress(b"<p>Footnote" * 1000)
    for data in (packed[:cut], packed[:40] + b"\xff" * 40):
        async with serve({"/": page(data, Content_Encoding="gzip")}) as site, WebFetcher(limits_for(site)) as fetcher:
            with pytest.raises(FetchFailed, match="damaged or was cut short"):
                await fetcher.fetch(site.url(), folder=tmp_path)
    assert left_in(tmp_path) == []


async def test_a_connection_that_breaks_off_fails_for_now_and_leaves_no_file(tmp_path: Path):
    async def breaking(_asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with serve({"/": breaking}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchFailed, match="broke off"):
            await fetcher.fetch(site.url(), folder=tmp_path)
    assert left_in(tmp_path) == []


async def test_a_site_that_nobody_answers_for_fails_for_now(tmp_path: Path):
    async with serve() as site:
        pass
    async with WebFetcher(limits_for(site, robots=False)) as fetcher:
        with pytest.raises(FetchFailed, match="cannot be connected to"):
            await fetcher.fetch(site.url(), folder=tmp_path)


async def test_what_has_not_changed_is_not_sent_again(tmp_path: Path):
    date = "Mon, 01 Jun 2026 10:00:00 GMT"
    html = page("<p>here", ETag='"v1"', Last_Modified=date)

    async def conditional(asked, writer):
        same = asked.headers.get("if-none-match") == '"v1"' and asked.headers.get("if-modified-since") == date
        await (reply(304, ETag='"v1"') if same else html)(asked, writer)

    async with serve({"/": conditional, "/moved": redirect("/")}) as site, WebFetcher(limits_for(site)) as fetcher:
        first = await fetch(fetcher, site.url("/moved"), tmp_path)
        assert first.validators == Validators(site.url(), '"v1"', date)
        again = await fetcher.fetch(site.url("/moved"), validators=first.validators, folder=tmp_path)
        assert again == NotModified(site.url("/moved"), site.url(), first.validators)
        assert "if-none-match" not in site.asked[-2].headers  # the redirect is not what they are for
        site.routes["/moved"] = redirect("/new")
        site.routes["/new"] = page("<p>another page", ETag='"v1"')
        assert (await fetch(fetcher, site.url("/moved"), tmp_path, validators=first.validators)).final_url.endswith(
            "/new"
        )
        assert "if-none-match" not in site.asked[-1].headers


async def test_a_304_that_was_not_asked_for_is_refused(tmp_path: Path):
    async with serve({"/": reply(304)}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchRefused, match="304"):
            await fetcher.fetch(site.url(), folder=tmp_path)


async def test_validators_cannot_smuggle_headers(tmp_path: Path):
    async with serve({"/": page("<p>here")}) as site, WebFetcher(limits_for(site)) as fetcher:
        evil = Validators(site.url(), '"x"\r\nX-Evil: 1', "y\nX-Evil: 2")
        await fetch(fetcher, site.url(), tmp_path, validators=evil)
    assert not {"x-evil", "if-none-match", "if-modified-since"} & set(site.asked[-1].headers)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_a_status_that_may_pass_fails_for_now(tmp_path: Path, status: int):
    async with serve({"/": reply(status, b"internal details")}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(site.url(), folder=tmp_path)
    assert (caught.value.status, caught.value.retry_after) == (status, None)
    assert "internal details" not in str(caught.value)


@pytest.mark.parametrize("status", [204, 206, 300, 400, 401, 403, 404, 410, 451])
async def test_a_status_that_will_not_pass_refuses(tmp_path: Path, status: int):
    async with serve({"/": reply(status, b"")}) as site, WebFetcher(limits_for(site)) as fetcher:
        with pytest.raises(FetchRefused) as caught:
            await fetcher.fetch(site.url(), folder=tmp_path)
    assert caught.value.status == status


async def test_after_a_429_the_host_is_left_alone_for_as_long_as_it_said(tmp_path: Path):
    async with (
        serve({"/": reply(429, Retry_After=f"{MAX_WAIT_SECONDS + 10:.0f}"), "/b": page("<p>here")}) as site,
        WebFetcher(limits_for(site)) as fetcher,
    ):
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(site.url(), folder=tmp_path)
        assert caught.value.retry_after == MAX_WAIT_SECONDS + 10
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(site.url("/b"), folder=tmp_path)
        assert MAX_WAIT_SECONDS < (caught.value.retry_after or 0) <= MAX_WAIT_SECONDS + 10
    assert site.paths() == ["/"]


async def test_a_type_that_no_reader_takes_is_refused_before_its_body_comes(tmp_path: Path):
    async with (
        serve({"/": endless(b"x" * 1000, head="Content-Type: image/png")}) as site,
        WebFetcher(limits_for(site)) as fetcher,
    ):
        with pytest.raises(FetchRefused, match="an image"):
            await fetcher.fetch(site.url(), folder=tmp_path)


async def test_the_charset_of_the_header_counts_over_what_the_page_says(tmp_path: Path):
    body = '<meta charset="iso-8859-1"><p>Привет, мир. Это страница на русском языке.'.encode("cp1251")
    routes = {"/": page(body, content_type='text/html; charset="windows-1251"')}
    async with serve(routes) as site, WebFetcher(limits_for(site)) as fetcher:
        fetched = await fetch(fetcher, site.url(), tmp_path)
    assert "Привет, мир" in read(fetched.path, data=content(fetched)).text
    assert fetched.size == len(content(fetched))


async def test_robots_txt_closes_pages_and_is_asked_once(tmp_path: Path):
    robots = page("User-agent: footnote\nDisallow: /private\n", content_type="text/plain")
    routes = {"/robots.txt": robots, "/private/x": page("no"), "/open": page("<p>here"), "/in": redirect("/private/x")}
    async with serve(routes) as site, WebFetcher(limits_for(site)) as fetcher:
        for closed in ("/private/x", "/in"):
            with pytest.raises(FetchRefused, match=r"robots\.txt"):
                await fetcher.fetch(site.url(closed), folder=tmp_path)
        await asyncio.gather(*(fetch(fetcher, site.url("/open"), tmp_path) for _ in range(3)))
        assert [asked.path for asked in site.asked].count("/robots.txt") == 1
        assert "/private/x" not in site.paths()
    async with serve(routes) as site, WebFetcher(limits_for(site, robots=False)) as fetcher:
        await fetch(fetcher, site.url("/private/x"), tmp_path)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_without_a_robots_txt_everything_is_open(tmp_path: Path, status: int):
    async with (
        serve({"/robots.txt": reply(status), "/": page("<p>here")}) as site,
        WebFetcher(limits_for(site)) as fetcher,
    ):
        await fetch(fetcher, site.url(), tmp_path)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_robots_txt_that_cannot_be_read_closes_the_site_for_now(tmp_path: Path, status: int):
    async with (
        serve({"/robots.txt": reply(status), "/": page("<p>here")}) as site,
        WebFetcher(limits_for(site)) as fetcher,
    ):
        for _ in range(2):
            with pytest.raises(FetchFailed, match=r"robots\.txt cannot be read now") as caught:
                await fetcher.fetch(site.url(), folder=tmp_path)
            assert (caught.value.retry_after or 0) > 0
    assert [asked.path for asked in site.asked] == ["/robots.txt"]


async def test_a_robots_txt_that_redirects_in_circles_is_none_and_one_behind_a_private_address_refuses(tmp_path: Path):
    async with (
        serve({"/robots.txt": redirect("/robots.txt"), "/": page("<p>here")}) as site,
        WebFetcher(limits_for(site)) as fetcher,
    ):
        await fetch(fetcher, site.url(), tmp_path)
    async with (
        serve({"/robots.txt": redirect("http://169.254.169.254/"), "/": page("<p>here")}) as site,
        WebFetcher(limits_for(site, allow_private=("127.0.0.1/32",), allowed_ports=(site.port, 80))) as fetcher,
    ):
        with pytest.raises(FetchRefused):
            await fetcher.fetch(site.url(), folder=tmp_path)


async def test_of_a_robots_txt_without_end_the_beginning_is_read(tmp_path: Path):
    routes = {"/robots.txt": endless(b"User-agent: *\nDisallow: /closed\n" * 1000), "/open": page("<p>here")}
    async with serve(routes) as site, WebFetcher(limits_for(site)) as fetcher:
        await fetch(fetcher, site.url("/open"), tmp_path)
        with pytest.raises(FetchRefused, match=r"robots\.txt"):
            await fetcher.fetch(site.url("/closed"), folder=tmp_path)


async def test_the_delay_that_a_site_wants_is_kept(tmp_path: Path):
    routes = {"/robots.txt": page("User-agent: *\nCrawl-delay: 500"), "/": page("<p>here")}
    async with serve(routes) as site, WebFetcher(limits_for(site)) as fetcher:
        await fetch(fetcher, site.url(), tmp_path)
        with pytest.raises(FetchFailed, match="less often") as caught:
            await fetcher.fetch(site.url(), folder=tmp_path)
    assert 400 < (caught.value.retry_after or 0) <= 500


async def test_waiting_for_its_turn_is_not_the_sites_time(tmp_path: Path):
    async with serve({"/": page("<p>here")}) as site:
        limits = limits_for(site, requests_per_second=2, total_timeout=0.4, robots=False)
        async with WebFetcher(limits) as fetcher:
            for _ in range(3):
                await fetch(fetcher, site.url(), tmp_path)


async def test_connections_are_closed_after_refusals_and_failures(tmp_path: Path):
    """More of them than the pool holds: none is lost."""
    routes = {"/big": endless(b"x" * 65_536), "/404": reply(404, b"x" * 100_000), "/circle": redirect("/circle")}
    async with serve(routes) as site, WebFetcher(limits_for(site, max_bytes=100_000)) as fetcher:
        for _ in range(15):
            for path in routes:
                with pytest.raises(FetchRefused):
                    await fetcher.fetch(site.url(path), folder=tmp_path)


async def test_connections_are_closed_when_the_time_is_over(tmp_path: Path):
    """More of them than the pool holds, all at once."""
    routes = {"/": page("<p>here"), "/drip": endless(b".", pause=0.05)}
    async with serve(routes) as site, WebFetcher(limits_for(site, total_timeout=1.5)) as fetcher:
        await fetch(fetcher, site.url(), tmp_path)
        drips = (fetcher.fetch(site.url("/drip"), folder=tmp_path) for _ in range(40))
        ends = await asyncio.gather(*drips, return_exceptions=True)
        assert {type(end) for end in ends} == {FetchFailed}
        await fetch(fetcher, site.url(), tmp_path)


async def test_a_name_sent_by_a_site_cannot_leave_the_folder(tmp_path: Path):
    routes = {"/..%2f..%2f..%2fevil.md": page("# x", content_type="text/plain")}
    async with serve(routes) as site, WebFetcher(limits_for(site)) as fetcher:
        fetched = await fetch(fetcher, site.url("/..%2f..%2f..%2fevil.md"), tmp_path / "")
    assert left_in(tmp_path) == [fetched.path.parent]
    assert left_in(fetched.path.parent) == [fetched.path]


async def test_the_message_for_a_refused_address_says_what_to_change(tmp_path: Path):
    async with WebFetcher(Limits()) as fetcher:
        with pytest.raises(FetchRefused, match="FOOTNOTE_WEB__ALLOW_PRIVATE"):
            await fetcher.fetch("http://127.0.0.1/", folder=tmp_path)
