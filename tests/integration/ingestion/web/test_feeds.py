"""Feeds and sitemaps from a real server."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.web_server import Handler, endless, limits_for, page, reply, serve

from ingestion.errors import FetchFailed, FetchRefused
from ingestion.web.feeds import Entry, entries_of, expand
from ingestion.web.fetching import WebFetcher
from ingestion.web.urls import read_url

BASE = read_url("https://example.org/blog/feed")
RSS = """<?xml version="1.0" encoding="utf-8"?>
<!-- <feed> --><rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>
<title>Blog</title><link>https://example.org/</link><atom:link rel="self" href="https://example.org/feed"/>
<item><title>One &amp; all</title><link>
  /one </link><atom:link rel="self" href="/no"/>
<pubDate>Mon, 01 Jun 2026 10:00:00 +0200</pubDate><guid isPermaLink="false">id-1</guid></item>
<item><title>Two</title><guid>https://example.org/two</guid></item>
<item><title>One again</title><link>https://example.org/one</link></item>
<item><title>None</title><guid isPermaLink="false">x</guid></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:base="/base/"><title>T</title><link href="/"/>
<entry><title type="html">A &lt;b&gt;</title><id>tag:a</id><updated>2026-06-01T10:00:00Z</updated>
<link rel="edit" href="/edit"/><link rel="alternate" type="application/pdf" href="a.pdf"/><link href="a.html"/></entry>
<entry><link rel="self" href="/self"/></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><item rdf:about="x"><title>R</title><link>https://example.org/r</link>
<dc:date>2026-06-01T10:00:00+00:00</dc:date></item></rdf:RDF>"""
SITEMAP = """<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>https://example.org/s</loc>
<lastmod>2026-06-01</lastmod></url></urlset>"""
JSON_FEED = json.dumps({
    "version": "https://jsonfeed.org/version/1.1",
    "items": [{"id": "1", "url": "j", "title": "J", "date_published": "2026-06-01T10:00:00Z"}, {"id": "2"}, "x"],
})  # fmt: skip
JUNE = datetime(2026, 6, 1, 10, tzinfo=UTC)


def test_rss_gives_its_items():
    first, second = entries_of(RSS.encode(), base=BASE, most=10)
    assert (first.url, first.title, first.id) == ("https://example.org/one", "One & all", "id-1")
    assert first.updated == datetime(2026, 6, 1, 8, tzinfo=UTC)
    assert second == Entry("https://example.org/two", "Two", None, "https://example.org/two")


def test_atom_gives_the_page_of_each_entry():
    (entry,) = entries_of(ATOM.encode(), base=BASE, most=10)
    assert entry == Entry("https://example.org/base/a.html", "A <b>", JUNE, "tag:a")


@pytest.mark.parametrize(
    ("data", "url"),
    [(RDF, "https://example.org/r"), (SITEMAP, "https://example.org/s"), (JSON_FEED, "https://example.org/blog/j")],
)
def test_rdf_sitemaps_and_json_feeds_give_theirs(data: str, url: str):
    (entry,) = entries_of(data.encode(), base=BASE, most=10)
    assert entry.url == url
    assert entry.updated in {JUNE, JUNE.replace(hour=0)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_a_feed_is_read_in_the_encoding_that_it_names(encoding: str):
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?><rss><item><title>Grüße</title>'
    (entry,) = entries_of(f"{text}<link>/x</link></item></rss>".encode(encoding), base=BASE, most=10)
    assert entry.title == "Grüße"


def test_only_so_many_entries_are_taken():
    items = "".join(f"<item><link>/{number}</link></item>" for number in range(1000))
    assert len(entries_of(f"<rss>{items}</rss>".encode(), base=BASE, most=7)) == 7


def test_urls_that_cannot_be_fetched_are_handed_on_for_fetching_to_refuse():
    data = b"<rss><item><link>file:///etc/passwd</link></item><item><link>http://127.0.0.1/</link></item></rss>"
    assert [entry.url for entry in entries_of(data, base=BASE, most=10)] == ["file:///etc/passwd", "http://127.0.0.1/"]


LAUGHS = '<!ENTITY l0 "ha">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
HOSTILE = {
    "laughs": f"<!DOCTYPE rss [{LAUGHS}]><rss><item><title>&l11;</title><link>/x?&l11;</link></item></rss>",
    "laughs in an attribute": f"<!DOCTYPE feed [{LAUGHS}]><feed><entry><link href='/x&l11;'/></entry></feed>",
    "a large entity often": f'<!DOCTYPE rss [<!ENTITY a "{"a" * 50_000}">]><rss><item><title>{"&a;" * 50_000}',
    "depth": "<rss>" + "<a>" * 100_000,
    "line feeds": "\n" * 400_000 + "<rss>" + "<item>" * 1000,
    "attributes": "<rss " + " ".join(f"a{n}='x'" for n in range(30_000)) + "/>",
    "angles": "<rss>" + "<" * 400_000,
    "ampersands": "<rss>" + "&" * 400_000,
    "a long name": "<rss><" + "a" * 400_000 + "/></rss>",
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_feed_costs_little(data: str):
    tracemalloc.start()
    try:
        entries = entries_of(data.encode(), base=BASE, most=10)
    except FetchRefused:
        entries = ()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    assert all(len(entry.url) < 5000 and len(entry.title) < 500 for entry in entries)


@pytest.mark.timeout(60)
def test_laughs_do_not_fill_memory_outside_python_either():
    """Entities would be unfolded by libxml2, which Python's own count of memory does not see."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from ingestion.errors import FetchRefused\n"
        "from ingestion.web.feeds import entries_of\n"
        "from ingestion.web.urls import read_url\n"
        "try: entries_of(sys.stdin.buffer.read(), base=read_url('http://example.org/'), most=10)\n"
        "except FetchRefused: pass\n"
    )
    for name in ("laughs", "laughs in an attribute", "a large entity often"):
        subprocess.run([sys.executable, "-c", program], input=HOSTILE[name].encode(), check=True, timeout=30)


def test_external_entities_are_not_read(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    declared = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    data = f"{declared}<rss><item><title>&x;</title><link>/x</link></item></rss>"
    assert "secret" not in repr(entries_of(data.encode(), base=BASE, most=10))


def test_a_feed_that_names_a_file_does_not_open_it(tmp_path: Path):
    file = tmp_path / "feed.xml"
    file.write_text(RSS)
    with pytest.raises(FetchRefused, match="damaged"):
        entries_of(str(file).encode(), base=BASE, most=10)


@pytest.mark.parametrize("data", ["{" * 100_000, '{"items": 3}', '{"items": null}', "[]", "{}", "", '{"items": [{}]}'])
def test_json_that_is_no_feed_is_refused_or_empty(data: str):
    with contextlib.suppress(FetchRefused):
        assert entries_of(data.encode(), base=BASE, most=10) == ()


@pytest.mark.parametrize(
    ("handler", "paths"),
    [
        (page(RSS, content_type="application/rss+xml"), ["https://example.org/two"]),
        (page(RSS, content_type="text/html"), ["https://example.org/two"]),
        (page(gzip.compress(RSS.encode()), Content_Encoding="gzip"), ["https://example.org/two"]),
        (page(JSON_FEED, content_type="application/json"), []),
    ],
)
async def test_a_url_that_is_a_feed_means_its_entries(handler: Handler, paths: list[str]):
    async with serve({"/feed": handler}) as site:
        limits = limits_for(site)
        async with WebFetcher(limits) as fetcher:
            entries = await expand(site.url("/feed"), fetcher=fetcher, limits=limits)
    assert set(paths) <= {entry.url for entry in entries}
    assert site.url("/feed") not in {entry.url for entry in entries}


@pytest.mark.parametrize(
    "handler",
    [
        page("<!doctype html><title>feed</title><p>rss"),
        page("<feedback>x</feedback>", content_type="application/xml"),
        page('{"items": []}', content_type="application/json"),
        page(b"%PDF-1.7 ...", content_type="application/pdf"),
        page(b"", content_type="text/plain"),
        endless(b"x" * 65_536),
    ],
)
async def test_a_url_that_is_no_feed_means_itself_and_is_not_read_to_its_end(handler: Handler):
    async with serve({"/page": handler}) as site:
        limits = limits_for(site)
        async with WebFetcher(limits) as fetcher:
            (entry,) = await expand(site.url("/page#x"), fetcher=fetcher, limits=limits)
    assert entry.url == site.url("/page")


async def test_a_feed_that_comes_in_small_pieces_is_known_for_one():
    async def dripping(_asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n")
        for place in range(0, len(RSS), 20):
            writer.write(RSS[place : place + 20].encode())
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async with serve({"/feed": dripping}) as site:
        limits = limits_for(site)
        async with WebFetcher(limits) as fetcher:
            assert len(await expand(site.url("/feed"), fetcher=fetcher, limits=limits)) == 3


async def test_an_index_of_sitemaps_means_the_pages_of_its_sitemaps():
    async with serve() as site:
        locations = "".join(f"<sitemap><loc>{site.url(path)}</loc></sitemap>" for path in ("/one.xml", "/index.xml"))
        site.routes["/index.xml"] = page(f"<sitemapindex>{locations}</sitemapindex>", content_type="text/xml")
        site.routes["/one.xml"] = page(SITEMAP, content_type="text/xml")
        limits = limits_for(site)
        async with WebFetcher(limits) as fetcher:
            entries = await expand(site.url("/index.xml"), fetcher=fetcher, limits=limits)
    assert [entry.url for entry in entries] == ["https://example.org/s"]
    assert site.paths() == ["/index.xml", "/one.xml", "/index.xml"]


async def test_entries_are_judged_like_any_other_url(tmp_path: Path):
    """A feed on a host that is allowed does not open others."""
    async with serve({"/secret": page("secret")}) as inside, serve() as site:
        site.routes["/feed"] = page(f"<rss><item><link>http://127.0.0.2:{inside.port}/secret</link></item></rss>")
        limits = limits_for(site, inside, allow_private=("127.0.0.1/32",))
        async with WebFetcher(limits) as fetcher:
            (entry,) = await expand(site.url("/feed"), fetcher=fetcher, limits=limits)
            with pytest.raises(FetchRefused):
                await fetcher.fetch(entry.url, folder=tmp_path)
        assert inside.connections == 0


async def test_a_feed_without_end_is_refused_and_one_that_is_away_fails_for_now():
    async with serve({"/feed": endless(b"<rss>" + b"<item></item>" * 5000), "/away": reply(503)}) as site:
        limits = limits_for(site)
        async with WebFetcher(limits) as fetcher:
            with pytest.raises(FetchRefused, match="longer than 500,000 bytes"):
                await expand(site.url("/feed"), fetcher=fetcher, limits=limits)
            with pytest.raises(FetchFailed):
                await expand(site.url("/away"), fetcher=fetcher, limits=limits)


def test_ingestion_without_urls_imports_nothing_of_the_web():
    program = (
        "import sys, ingestion.__main__, ingestion.pipeline.pipeline\n"
        "print([name for name in sys.modules if name.startswith('ingestion.web')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
