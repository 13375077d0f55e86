"""Web pages to ingest: fetched if they changed, kept in the database, then indexed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ingestion.errors import FetchFailed, FetchRefused
from ingestion.identity import free_id
from ingestion.inputs.destination import Destination
from ingestion.inputs.stored import FromDatabase, KeptDocument
from ingestion.readers.process_pool import hash_file
from ingestion.retrying import RETRYING
from ingestion.types import Json
from ingestion.web.feeds import expand
from ingestion.web.fetching import Fetched, NotModified, Validators, WebFetcher
from ingestion.web.urls import read_url
from storage.documents.originals import Originals
from storage.documents.sources import MAX_SOURCE_BYTES
from storage.documents.web_pages import KnownPage, WebPages
from storage.documents.writes import Documents

if TYPE_CHECKING:
    from config.settings import WebSettings
    from ingestion.pipeline.report import IngestReport
    from ingestion.pipeline.tracing import RunTrace
    from storage.database import Database
    from storage.documents.writes import DocumentState
    from storage.generation import Generation

State = Literal["new", "unchanged", "gone", "skipped", "failed"]
GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
MAX_FINAL_URL = 8192


@dataclass(frozen=True, slots=True)
class Visit:
    """The result of fetching a URL.

    Attributes:
        state: ``new``: to be indexed, for the first time or again; ``gone``: a stored page answers 404 or 410;
            ``skipped``: a permanent error; ``failed``: a temporary one.
        reason: for people.
        known: validators and hash to store for the next fetch.
        path: of the fetched bytes; None if the database has them.
        stored: the document as stored.

    """

    url: str
    state: State
    revision: int = 0
    reason: str = ""
    known: KnownPage | None = None
    path: Path | None = None
    size: int = 0
    stored: DocumentState | None = None


class UrlDocuments:
    """Fetches URLs, and the pages that feeds and sitemaps among them list.

    Attributes:
        gone: URLs of stored documents whose pages are gone; for `--sync`.

    """

    def __init__(
        self,
        database: Database,
        *,
        destination: Destination,
        fetcher: WebFetcher,
        limits: WebSettings,
        folder: Path,
        urls: Sequence[str],
        metadata: Mapping[str, Json],
        sync: bool = False,
    ) -> None:
        self.gone: list[str] = []
        self._destination = destination
        self._stores = [
            Documents(database, generation=each) for each in (destination.generation, destination.beside) if each
        ]
        self._originals = Originals(database)
        self._pages = WebPages(database)
        self._fetcher = fetcher
        self._limits = limits
        self._folder = folder
        self._urls = urls
        self._metadata = metadata
        self._sync = sync
        self._fingerprint = destination.fingerprint(metadata)

    async def changed(self, *, report: IngestReport, trace: RunTrace) -> AsyncIterator[FromDatabase]:
        """Yield the pages to ingest; count the others in the report."""
        async for visit in self.visits():
            if visit.state == "new":
                yield await self._kept(visit)
            elif visit.state == "unchanged":
                report.unchanged += 1
                trace.count("unchanged")
                await self._remember(visit)
            elif visit.state == "failed":
                report.fail(visit.url, visit.reason)
                trace.count("failed")
            elif visit.state == "skipped" or not self._sync:
                report.skip(visit.url, visit.reason)
                trace.count("skipped")

    async def visits(self) -> AsyncIterator[Visit]:
        """Fetch each page once into temporary files, which the caller removes."""
        seen: set[str] = set()
        for given in self._urls:
            async for url in self._expanded(given):
                if isinstance(url, str) and url in seen:
                    continue
                visit = url if isinstance(url, Visit) else await self._visit(url)
                seen.add(visit.url)
                if visit.state == "gone":
                    self.gone.append(visit.url)
                yield visit

    async def _expanded(self, given: str) -> AsyncIterator[str | Visit]:
        try:
            url = read_url(given).url
        except FetchRefused as exc:
            yield Visit(given, "skipped", reason=str(exc))
            return
        if await RETRYING(self._pages.get, url):  # known as a page, not a feed: one conditional request suffices
            yield url
            return
        try:
            entries = await expand(url, fetcher=self._fetcher, limits=self._limits)
        except (FetchRefused, FetchFailed) as exc:
            yield await self._without(url, exc)
            return
        for entry in entries:
            yield entry.url

    async def _visit(self, url: str) -> Visit:
        if len(url.encode()) > MAX_SOURCE_BYTES:
            return Visit(url, "skipped", reason=f"the URL is longer than {MAX_SOURCE_BYTES} bytes")
        # taken before the fetch: what another writer stores meanwhile has a higher revision
        revision = await RETRYING(self._stores[0].next_revision) if self._stores else 0
        stored = await self._stored(url)
        known = await RETRYING(self._pages.get, url)
        if known and not any(state and state.content_hash == known.content_hash for state in stored):
            known = None  # the bytes may be pruned, or were never indexed: fetch unconditionally
        asked = Validators(known.final_url, known.etag, known.last_modified) if known else None
        try:
            fetched = await self._fetcher.fetch(url, validators=asked, folder=self._folder)
        except (FetchRefused, FetchFailed) as exc:
            return await self._without(url, exc)
        if isinstance(fetched, NotModified):
            if known is None:  # the request was unconditional
                return Visit(url, "failed", reason="the site says that nothing changed, though nobody asked")
            return self._new(url, revision, known, stored=stored)
        return await self._fetched(fetched, revision, stored)

    async def _fetched(self, page: Fetched, revision: int, stored: Sequence[DocumentState | None]) -> Visit:
        content_hash = await asyncio.to_thread(hash_file, page.path)
        known = KnownPage(
            url=page.url,
            final_url=page.validators.url,
            etag=page.validators.etag,
            last_modified=page.validators.last_modified,
            content_hash=content_hash,
            file_name=page.path.name,
        )
        return self._new(page.url, revision, known, stored=stored, path=page.path, size=page.size)

    def _new(
        self,
        url: str,
        revision: int,
        known: KnownPage,
        *,
        stored: Sequence[DocumentState | None],
        path: Path | None = None,
        size: int = 0,
    ) -> Visit:
        here = stored[0] if stored else None  # in the generation itself
        is_same = here is not None and here.is_made_of(known.content_hash, self._fingerprint)
        state: State = "unchanged" if is_same else "new"
        return Visit(url, state, revision, known=known, path=path, size=size, stored=_first(stored))

    async def _without(self, url: str, error: FetchRefused | FetchFailed) -> Visit:
        stored = await self._stored(url)
        if isinstance(error, FetchFailed):
            return Visit(url, "failed", reason=str(error))
        if error.status in GONE and any(stored):
            reason = f"{error}; its last version stays, --sync deletes it"
            return Visit(url, "gone", reason=reason, stored=_first(stored))
        return Visit(url, "skipped", reason=str(error))

    async def _stored(self, url: str) -> list[DocumentState | None]:
        """Return the page's document in the generation and in the one beside it."""
        return [(await RETRYING(store.states, [url])).get(url) for store in self._stores]

    async def _kept(self, visit: Visit) -> FromDatabase:
        known, generation = visit.known, self._destination.generation
        if known is None or generation is None:
            raise AssertionError
        if visit.path is not None:
            await RETRYING(self._originals.put, visit.path, content_hash=known.content_hash)
        await self._remember(visit)
        kept = KeptDocument(
            id=visit.stored.id if visit.stored else await self._new_id(visit.url, generation),
            source=visit.url,
            location=None,
            name=known.file_name,
            title=None,
            metadata=self._metadata,
            content_hash=known.content_hash,
            pipeline_fingerprint=self._fingerprint,
            revision=visit.revision,
        )
        return FromDatabase(kept, self._stores[0], self._originals)

    async def _new_id(self, url: str, generation: Generation) -> str:
        return await RETRYING(free_id, url, generation=generation, stores=self._stores)

    async def _remember(self, visit: Visit) -> None:
        if visit.known and len(visit.known.final_url) <= MAX_FINAL_URL:
            await RETRYING(self._pages.put, visit.known)
        await asyncio.to_thread(discard, visit)


def _first(states: Sequence[DocumentState | None]) -> DocumentState | None:
    return next((state for state in states if state is not None), None)


def discard(visit: Visit) -> None:
    """Remove a page's temporary file."""
    if visit.path is not None:
        shutil.rmtree(visit.path.parent, ignore_errors=True)


@asynccontextmanager
async def open_web(limits: WebSettings) -> AsyncIterator[tuple[WebFetcher, Path]]:
    """Open a fetcher and a temporary folder for its files.

    Raises:
        FetchRefused: a setting of the group ``web`` is invalid.

    """
    try:
        fetcher = WebFetcher(limits)
    except (ValueError, OSError) as exc:
        msg = f"a setting under FOOTNOTE_WEB cannot be used: {exc}"
        raise FetchRefused(msg) from exc
    with tempfile.TemporaryDirectory(prefix="footnote-web-") as folder:
        async with fetcher:
            yield fetcher, Path(folder)
