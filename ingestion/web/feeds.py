"""Feeds and sitemaps: RSS, Atom, JSON Feed and sitemap.xml, and the pages that they list.

lxml parses them, not feedparser 6.0.14: its search for a document type takes quadratic time in leading line feeds
(20 kB: 2.4 s; 1 MB: hours), and it opens a local file if the bytes happen to be its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, cast

from ingestion.errors import FetchRefused
from ingestion.readers.cleaning import one_line
from ingestion.web.fetching import Page, WebFetcher
from ingestion.web.limits import WebLimits
from ingestion.web.urls import MAX_URL, Target, read_reference, read_url

if TYPE_CHECKING:
    from lxml import etree

MAX_SITEMAPS = 50  # of one sitemap index
_MAX_ID = 500
_JSON_FEED = b"jsonfeed.org/version/"
_DATES = ("updated", "modified", "pubDate", "published", "date", "issued", "lastmod")
_DAMAGED = "the feed is damaged; check in a browser that it is one"


@dataclass(frozen=True, slots=True)
class Entry:
    """A page that a feed lists.

    Attributes:
        url: normalised; an invalid one is kept as it is, and fetching it reports the error.
        title: on one line; may be empty.
        updated: with a time zone; None if the feed has none.
        id: of the feed, else the URL.

    """

    url: str
    title: str = ""
    updated: datetime | None = None
    id: str = ""


async def expand(url: str, *, fetcher: WebFetcher, limits: WebLimits) -> tuple[Entry, ...]:
    """Return the pages that the feed or sitemap at a URL lists, or the URL itself if it is a page.

    Entries are in the feed's order, each URL once, at most `limits.max_entries`. Their addresses are checked when
    they are fetched.

    Raises:
        FetchRefused: as `WebFetcher.fetch`; or the feed is damaged.
        FetchFailed: as `WebFetcher.fetch`.

    """
    page = await _read(url, fetcher, limits)
    if page is None:
        own = read_url(url).url
        return (Entry(own, id=own),)
    if _root_name(page.data) != "sitemapindex":
        return await _entries(page, limits.max_entries)
    found: dict[str, Entry] = {}
    for sitemap in await _entries(page, MAX_SITEMAPS):
        below = await _read(sitemap.url, fetcher, limits)
        if below is not None and _root_name(below.data) == "urlset":
            found |= {entry.url: entry for entry in await _entries(below, limits.max_entries)}
        if len(found) >= limits.max_entries:
            break
    return tuple(found.values())[: limits.max_entries]


async def _read(url: str, fetcher: WebFetcher, limits: WebLimits) -> Page | None:
    return await fetcher.read(url, limit=limits.max_feed_bytes, accepts=is_feed)


async def _entries(page: Page, most: int) -> tuple[Entry, ...]:
    return await asyncio.to_thread(entries_of, page.data, base=page.target, most=most)


def is_feed(media_type: str, beginning: bytes) -> bool:
    """Tell whether the first bytes are those of a feed or sitemap."""
    if media_type == "application/feed+json" or (beginning.lstrip()[:1] == b"{" and _JSON_FEED in beginning):
        return True
    return _root_name(beginning) in _READERS


def entries_of(data: bytes, *, base: Target, most: int) -> tuple[Entry, ...]:
    """Parse a feed, a sitemap or a sitemap index; each URL comes once.

    Args:
        data: the complete file.
        base: its URL, for relative links.
        most: maximum number of entries; the first are kept.

    Raises:
        FetchRefused: it cannot be parsed.

    """
    read = _READERS.get(_root_name(data))
    entries = _json_entries(data, base) if read is None else read(_tree(data), base)
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.url, entry)
        if len(found) >= most:
            break
    return tuple(found.values())


def _root_name(data: bytes) -> str:
    """Return the local name of an XML document's root element; empty if it is not XML."""
    from lxml import etree

    parser = etree.XMLPullParser(
        events=("start",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    with contextlib.suppress(etree.XMLSyntaxError):  # use what came before the error
        parser.feed(data.lstrip()[:65_536])
    return next((_name(element) for _, element in parser.read_events()), "")


def _tree(data: bytes) -> etree._Element:
    from lxml import etree

    # no entity is expanded and nothing is loaded; libxml2's limits on depth and length apply
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data.lstrip(), parser=parser)
    except (etree.LxmlError, ValueError) as exc:
        raise FetchRefused(_DAMAGED) from exc
    if root is None:
        raise FetchRefused(_DAMAGED)
    return root


def _rss_entries(root: etree._Element, base: Target) -> Iterator[Entry]:
    for item in root.iter("{*}item", "item"):
        link = _text(item, "link")
        guid = next((child for child in item if _name(child) == "guid"), None)
        if not link and guid is not None and guid.get("isPermaLink", "true") != "false":
            link = _inner(guid)
        if link:
            yield _entry(link, base, title=_text(item, "title"), date=_date(item), name=_text(item, "guid"))


def _atom_entries(root: etree._Element, base: Target) -> Iterator[Entry]:
    for item in root.iter("{*}entry", "entry"):
        links = [child for child in item if _name(child) == "link" and child.get("rel", "alternate") == "alternate"]
        links.sort(key=lambda link: "html" not in link.get("type", "html"))
        if links:
            place = _base(links[0], base)
            yield _entry(
                links[0].get("href", ""), place, title=_text(item, "title"), date=_date(item), name=_text(item, "id")
            )


def _sitemap_entries(root: etree._Element, base: Target) -> Iterator[Entry]:
    for item in root:
        if link := _text(item, "loc"):
            yield _entry(link, base, title="", date=_date(item), name="")


_READERS: dict[str, Callable[[etree._Element, Target], Iterator[Entry]]] = {
    "rss": _rss_entries,
    "RDF": _rss_entries,
    "feed": _atom_entries,
    "urlset": _sitemap_entries,
    "sitemapindex": _sitemap_entries,
}


def _json_entries(data: bytes, base: Target) -> Iterator[Entry]:
    try:
        feed = json.loads(data.removeprefix(b"\xef\xbb\xbf"))
        items = cast("list[object]", feed["items"])
        for item in items:
            if isinstance(item, dict) and (link := item.get("url") or item.get("external_url")):
                date = _parsed_date(str(item.get("date_modified") or item.get("date_published") or ""))
                yield _entry(
                    str(link), base, title=str(item.get("title") or ""), date=date, name=str(item.get("id") or "")
                )
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise FetchRefused(_DAMAGED) from exc


def _entry(link: str, base: Target, *, title: str, date: datetime | None, name: str) -> Entry:
    stripped = link.strip()[: MAX_URL + 1].replace(" ", "%20")
    try:
        url = read_reference(stripped, base=base).url
    except FetchRefused:
        url = one_line(stripped)
    return Entry(url, one_line(title), date, one_line(name, limit=_MAX_ID) or url)


def _base(element: etree._Element, base: Target) -> Target:
    """Return the base URL that `xml:base` gives."""
    for above in (element, *element.iterancestors()):
        given = above.get("{http://www.w3.org/XML/1998/namespace}base")
        if given:
            try:
                return read_reference(given, base=base)
            except FetchRefused:
                return base
    return base


def _name(element: etree._Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _inner(element: etree._Element) -> str:
    return "".join(element.itertext()).strip()


def _text(item: etree._Element, name: str) -> str:
    """Return the text of the first non-empty child with this name."""
    return next((text for child in item if _name(child) == name and (text := _inner(child))), "")


def _date(item: etree._Element) -> datetime | None:
    return next((date for name in _DATES if (date := _parsed_date(_text(item, name)))), None)


def _parsed_date(text: str) -> datetime | None:
    """Parse a date of RSS (RFC 822) or Atom (RFC 3339)."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = read(text.strip())
        except (ValueError, OverflowError):
            continue
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None
