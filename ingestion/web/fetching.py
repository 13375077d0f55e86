"""Fetching web pages into files: rate-limited, checked at every redirect, bounded in time and size."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import anyio

from config.version import VERSION
from ingestion.errors import FetchFailed, FetchRefused
from ingestion.web.bodies import too_long
from ingestion.web.charsets import to_utf8
from ingestion.web.connections import Resolve, Resolver
from ingestion.web.exchange import Answer, Exchange
from ingestion.web.limits import WebLimits
from ingestion.web.naming import file_name
from ingestion.web.pace import Pace
from ingestion.web.robots import Robots
from ingestion.web.urls import Target, read_url

USER_AGENT = f"Footnote/{VERSION}"
MAX_RETRY_AFTER = 86_400.0
_MAX_VALIDATOR = 1024
_BEGINNING = 4096
_PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_COMPLETE = {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of a response, for a conditional request later.

    Attributes:
        url: of the final hop, which they are valid for.
        etag: as received.
        last_modified: as received, an HTTP date.

    """

    url: str
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page in a file.

    Attributes:
        url: as requested, normalised and without its fragment.
        final_url: after redirects.
        path: of the file, in a new folder.
        media_type: as the site says; may be empty.
        size: of the file, in bytes.
        validators: for the next request.

    """

    url: str
    final_url: str
    path: Path
    media_type: str
    size: int
    validators: Validators


@dataclass(frozen=True, slots=True)
class NotModified:
    """A page that has not changed since the validators were sent."""

    url: str
    final_url: str
    validators: Validators


@dataclass(frozen=True, slots=True)
class Page:
    """A page in memory."""

    target: Target
    media_type: str
    data: bytes


class WebFetcher:
    """Fetches pages. Use one instance for many pages, as it limits the rate of each host, as an async context manager.

    Args:
        limits: bounds and allowed targets.
        resolve: returns a host's addresses; by default the system's resolver.

    """

    def __init__(self, limits: WebLimits, *, resolve: Resolve | None = None) -> None:
        user_agent = limits.user_agent or USER_AGENT
        self._limits = limits
        self._resolver = Resolver()
        self._exchange = Exchange(limits, user_agent=user_agent, resolve=resolve or self._resolver)
        self._pace = Pace(interval=1 / limits.requests_per_second)
        self._robots = Robots(self._exchange, pace=self._pace, user_agent=user_agent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.close()
        self._resolver.close()

    async def fetch(self, url: str, *, validators: Validators | None = None, folder: Path) -> Fetched | NotModified:
        """Fetch a page into a file in a new folder below `folder`, named so that the readers recognise it.

        Text is converted to UTF-8 if the site names its charset. A failure leaves no file behind.

        Raises:
            FetchRefused: the URL or a redirect is not allowed, robots.txt excludes it, it is too large or of an
                unsupported type, or the site answered with a permanent error; the message says which.
            FetchFailed: a temporary error of the site or the network.
            OSError: the file cannot be written.

        """
        target = read_url(url)
        headers = _conditions(validators)
        async with self._exchange.get(target, admit=self._admit, headers=headers) as answer:
            if answer.status == HTTPStatus.NOT_MODIFIED and validators is not None and headers(answer.target):
                return NotModified(target.url, answer.target.url, _validators(answer, before=validators))
            self._check(answer, limit=self._limits.max_bytes)
            name = file_name(answer.target.path, media_type=answer.media_type)
            path = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=folder)) / name
            try:
                size = await self._write(answer, path)
            except BaseException:
                shutil.rmtree(path.parent, ignore_errors=True)
                raise
        return Fetched(target.url, answer.target.url, path, answer.media_type, size, _validators(answer))

    async def read(self, url: str, *, limit: int, accepts: Callable[[str, bytes], bool]) -> Page | None:
        """Read a page into memory; of a page that is not accepted only the beginning.

        Args:
            url: of the page.
            limit: maximum bytes, both received and decompressed.
            accepts: tells from media type and first bytes whether to read the page.

        Returns:
            The page; None if it is not accepted.

        Raises:
            FetchRefused: as `fetch`, but whatever the type.
            FetchFailed: as `fetch`.

        """
        data = bytearray()
        judged = False
        async with self._exchange.get(read_url(url), admit=self._admit) as answer:
            self._check(answer, limit=None)
            async with aclosing(answer.blocks(limit=limit)) as blocks:
                async for block in blocks:
                    data += block
                    if not judged and len(data) >= _BEGINNING:
                        judged = accepts(answer.media_type, bytes(data))
                        if not judged:
                            return None
        if not judged and not accepts(answer.media_type, bytes(data)):
            return None
        return Page(answer.target, answer.media_type, bytes(data))

    async def post(self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str], limit: int) -> bytes:
        """Send a form; return the answer's body, of `limit` bytes at most. Redirects are not followed.

        Raises:
            FetchRefused: the URL is not allowed, or the site does not answer with a success.
            FetchFailed: as `fetch`.

        """
        target = read_url(url)
        sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        async with self._exchange.post(target, urlencode(form).encode(), headers=sent) as answer:
            self._check(answer, limit=limit)
            async with aclosing(answer.blocks(limit=limit)) as blocks:
                return b"".join([block async for block in blocks])

    async def _admit(self, hop: Target) -> None:
        delay = await self._robots.delay(hop) if self._limits.robots else 0.0
        await self._pace.turn(hop.host, interval=delay)

    def _check(self, answer: Answer, *, limit: int | None) -> None:
        status, shown = answer.status, answer.target.shown
        if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = retry_after(answer.headers.get("retry-after", ""))
            if wait is not None:
                self._pace.hold(answer.target.host, seconds=wait)
            msg = f"{shown} answered {status}; it may work later"
            raise FetchFailed(msg, status=status, retry_after=wait)
        if status not in _COMPLETE:
            msg = f"{shown} answered {status}; check the URL, and that it needs no signing in"
            raise FetchRefused(msg, status=status)
        length = answer.headers.get("content-length", "")
        if limit is not None and length.isascii() and length.isdecimal() and int(length[:20]) > limit:
            raise too_long(limit)

    async def _write(self, answer: Answer, path: Path) -> int:
        async with (
            await anyio.open_file(path, "xb") as file,
            aclosing(answer.blocks(limit=self._limits.max_bytes)) as blocks,
        ):
            async for block in blocks:
                await file.write(block)
        if answer.charset and _needs_charset(answer):
            return await asyncio.to_thread(to_utf8, path, charset=answer.charset)
        return (await asyncio.to_thread(path.stat)).st_size


def _needs_charset(answer: Answer) -> bool:
    """Tell whether the header's charset is needed: without it, only UTF-8 that is not HTML is decoded correctly."""
    is_html = answer.media_type in {"text/html", "application/xhtml+xml"}
    return is_html or (answer.media_type.startswith("text/") and answer.charset not in {"utf-8", "utf8"})


def _conditions(validators: Validators | None) -> Callable[[Target], Mapping[str, str]]:
    """Return the headers for a hop: conditional only for the URL that the validators came from."""
    conditions: dict[str, str] = {}
    if validators is not None and (etag := _header(validators.etag)):
        conditions["If-None-Match"] = etag
    if validators is not None and (date := _header(validators.last_modified)):
        conditions["If-Modified-Since"] = date
    return lambda hop: conditions if validators is not None and hop.url == validators.url else {}


def _validators(answer: Answer, *, before: Validators | None = None) -> Validators:
    etag, date = _header(answer.headers.get("etag")), _header(answer.headers.get("last-modified"))
    if before is not None:
        etag, date = etag or before.etag, date or before.last_modified
    return Validators(answer.target.url, etag, date)


def _header(value: str | None) -> str | None:
    """Return a value that is safe to send back unchanged; None otherwise."""
    return value if value and value.isascii() and value.isprintable() and len(value) <= _MAX_VALIDATOR else None


def retry_after(value: str) -> float | None:
    """Return the seconds of a ``Retry-After`` header, at most a day; None if it is invalid."""
    try:
        seconds = (
            float(value)
            if value.isascii() and value.strip().isdecimal()
            else parsedate_to_datetime(value).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None
