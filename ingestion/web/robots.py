"""robots.txt (RFC 9309)."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from weakref import WeakValueDictionary

from protego import Protego

from ingestion.errors import FetchFailed, FetchRefused
from ingestion.web.exchange import Exchange
from ingestion.web.pace import Pace
from ingestion.web.urls import Target

MAX_BYTES = 500 * 1024  # the minimum that RFC 9309 requires crawlers to read; the rest is ignored
KEPT_SECONDS = 3600.0
FAILURE_KEPT_SECONDS = 60.0
KEPT_CHARS = 1_000_000  # over all sites; the least recently used are forgotten first

_AGENT = re.compile(r"\s*user(?:-|\s*)agent\s*[:\s]\s*(\*|[a-z_-]*)", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z_-]+")


@dataclass(frozen=True, slots=True)
class _Site:
    """A site's rules for us; without rules its robots.txt is unavailable, and nothing may be fetched."""

    until: float
    rules: Protego | None
    chars: int


class Robots:
    """Checks pages against their sites' robots.txt, each fetched at most once an hour.

    Args:
        exchange: sends the requests.
        pace: rate limits.
        user_agent: its first word is our name in robots.txt.
        clock: returns seconds.

    """

    def __init__(
        self, exchange: Exchange, *, pace: Pace, user_agent: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        found = _TOKEN.search(user_agent)
        self._agent = found[0].lower() if found else "*"
        self._exchange = exchange
        self._pace = pace
        self._clock = clock
        self._sites: OrderedDict[str, _Site] = OrderedDict()
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def delay(self, target: Target) -> float:
        """Return the crawl delay of a page's site in seconds, 0 if it has none.

        Raises:
            FetchRefused: robots.txt excludes the page, or redirects to an address that is not allowed.
            FetchFailed: robots.txt is temporarily unavailable.

        """
        site = await self._site(target)
        if site.rules is None:
            msg = f"{target.origin}/robots.txt cannot be read now, and until then nothing of this site is fetched"
            raise FetchFailed(msg, retry_after=max(0.0, site.until - self._clock()))
        if not await asyncio.to_thread(site.rules.can_fetch, target.url, self._agent):
            msg = f"{target.shown} is closed to {self._agent} by robots.txt, which FOOTNOTE_WEB__ROBOTS=false ignores"
            raise FetchRefused(msg)
        return site.rules.crawl_delay(self._agent) or 0.0

    async def _site(self, target: Target) -> _Site:
        lock = self._asking.setdefault(target.origin, asyncio.Lock())
        async with lock:
            known = self._sites.get(target.origin)
            if known is None or known.until <= self._clock():
                known = await self._ask(target)
                self._remember(target.origin, known)
            self._sites.move_to_end(target.origin)
        return known

    async def _ask(self, target: Target) -> _Site:
        place = Target(target.scheme, target.host, target.port, "/robots.txt")
        try:
            text = await self._read(place)
        except FetchFailed as exc:
            return _Site(self._clock() + max(FAILURE_KEPT_SECONDS, exc.retry_after or 0), None, 0)
        except FetchRefused as exc:
            if exc.status is None:
                raise
            text = ""  # too many redirects: as if there were none
        ours = await asyncio.to_thread(rules_for, self._agent, text)
        rules = await asyncio.to_thread(Protego.parse, ours)
        return _Site(self._clock() + KEPT_SECONDS, rules, len(ours))

    async def _read(self, place: Target) -> str:
        data = b""
        async with self._exchange.get(place, admit=self._admit) as answer:
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise FetchFailed(place.shown, status=answer.status)
            if answer.status != HTTPStatus.OK:
                return ""
            async with aclosing(answer.blocks(limit=2 * MAX_BYTES)) as blocks:
                async for block in blocks:
                    data += block
                    if len(data) >= MAX_BYTES:
                        break
        return data[:MAX_BYTES].removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")

    async def _admit(self, hop: Target) -> None:
        await self._pace.turn(hop.host)

    def _remember(self, origin: str, site: _Site) -> None:
        self._sites[origin] = site
        while len(self._sites) > 1 and sum(64 + known.chars for known in self._sites.values()) > KEPT_CHARS:
            self._sites.popitem(last=False)


def rules_for(agent: str, text: str) -> str:
    """Return the lines of a robots.txt for this agent, as a file with one group.

    Protego keeps every group, and copies each rule to all agents of its group: 500 KiB of many agents over many rules
    would be hundreds of millions of entries.
    """
    named, anyone = list(_group(agent, text)), list(_group("*", text))
    return "\n".join(["user-agent: *", *(named or anyone)])


def _group(agent: str, text: str) -> Iterator[str]:
    applies = in_rules = False
    for line in text.splitlines():
        content = line.partition("#")[0].strip()
        if not content:
            continue
        if (found := _AGENT.match(content)) is None:
            in_rules = True
            if applies:
                yield content
            continue
        applies = found[1].lower() == agent or (applies and not in_rules)
        in_rules = False
