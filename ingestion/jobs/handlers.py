"""What a worker does: index a document whose bytes are in the database, fetch one, bring a generation up to date."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from embedding.errors import EmbeddingFailed
from ingestion.errors import FetchRefused, Unreadable
from ingestion.identity import pipeline_fingerprint
from ingestion.incoming import Incoming
from ingestion.inputs.stored import FromDatabase, KeptDocument
from ingestion.pipeline.factory import Indexing
from ingestion.readers.process_pool import hash_file
from ingestion.runs.pruning import prune
from ingestion.runs.reindexing import catch_up
from storage.deletions import forget_deletions
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import DocumentNotFound, GenerationNotFound
from storage.search.lexicon import STALE_SHARE

if TYPE_CHECKING:
    from config.settings import Settings
    from ingestion.jobs.retries import Handler, Progress
    from ingestion.pipeline.report import IngestReport
    from ingestion.web.fetching import WebFetcher
    from storage.database import Database
    from storage.jobs.jobs import Job

Result = Mapping[str, object]
TIDY_SECONDS = 1800.0
_log = structlog.get_logger(__name__)


class Handlers:
    """The handlers of one worker: `mapping` has them by the kind of job."""

    def __init__(self, indexing: Indexing, *, settings: Settings, stack: AsyncExitStack) -> None:
        self._indexing = indexing
        self._settings = settings
        self._stack = stack
        self._fetcher: WebFetcher | None = None
        self.mapping: Mapping[str, Handler] = {
            "index-document": self.index_document,
            "index-url": self.index_url,
            "catch-up": self.catch_up,
            "prune": self.prune,
        }

    async def index_document(self, job: Job, progress: Progress) -> Result:
        """Index bytes that were uploaded; the arguments are a `KeptDocument`'s, as far as a client can know them.

        Raises:
            Unreadable: no reader takes them.
            EmbeddingFailed: the model failed on them.
            DocumentNotFound: the document was deleted meanwhile.
            CollectionNotFound: its collection is gone.

        """
        return await self._index(job, progress, content_hash=str(job.arguments["content_hash"]))

    async def index_url(self, job: Job, progress: Progress) -> Result:
        """Fetch a page and index it.

        Raises:
            FetchRefused: it must not be fetched, or is none that can be read.
            FetchFailed: it could not be fetched now.

        """
        from ingestion.web.fetching import Fetched

        fetcher = await self._opened_fetcher()
        with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
            fetched = await fetcher.fetch(str(job.arguments["url"]), folder=Path(folder))
            if not isinstance(fetched, Fetched):
                msg = "the server says that nothing changed, though nothing was there"
                raise FetchRefused(msg)
            content_hash = await asyncio.to_thread(hash_file, fetched.path)
            await Originals(self._indexing.database, tenant=job.tenant).put(fetched.path, content_hash=content_hash)
            return await self._index(job, progress, content_hash=content_hash, name=fetched.path.name)

    async def catch_up(self, job: Job, progress: Progress) -> Result:
        """Bring into the generation that answers what is newer in the one that did before."""
        target = await self._indexing.collections.active(job.collection)
        try:
            reference = await self._indexing.generations.get(job.collection, str(job.arguments["generation"]))
        except GenerationNotFound:
            return {"outcome": "nothing to do: that generation was dropped"}
        if reference.id == target.id:
            return {"outcome": "nothing to do: that generation answers"}
        report = await catch_up(self._indexing, target=target, reference=reference)
        progress.tell(report.documents, total=report.documents)
        return {"carried": report.carried, "failed": report.numbers["failed"], "chunks": report.chunks}

    async def prune(self, job: Job, _progress: Progress) -> Result:
        """Drop generations and bytes that nothing needs any more."""
        dropped = await prune(self._indexing, job.collection)
        return {"generations": list(dropped), "originals": await Originals(self._indexing.database).prune()}

    async def _opened_fetcher(self) -> WebFetcher:
        """Return the one fetcher of this worker: it knows when each host was asked."""
        from ingestion.web.fetching import WebFetcher

        if self._fetcher is None:
            self._fetcher = await self._stack.enter_async_context(WebFetcher(self._settings.web))
        return self._fetcher

    async def _index(self, job: Job, progress: Progress, *, content_hash: str, name: str | None = None) -> Result:
        progress.tell(0, total=1)
        generation = await self._indexing.collections.active(job.collection)
        pipeline = await self._indexing.pipeline(generation, first=progress.confirm)
        document = _kept(
            job,
            content_hash=content_hash,
            name=name,
            fingerprint=pipeline_fingerprint(
                generation.embedding,
                generation.chunking,
                metadata=_metadata(job) | {"title": job.arguments.get("title")},
            ),
        )
        incoming = FromDatabase(
            document,
            Documents(self._indexing.database, generation=generation),
            Originals(self._indexing.database, tenant=job.tenant),
        )
        if await incoming.is_stored():
            return {"outcome": "unchanged", "generation": generation.name, "content_hash": content_hash}
        report = await pipeline.run(_one(incoming))
        _require_success(report, document)
        progress.tell(1, total=1)
        least = self._settings.ingestion.index_chunks
        await self._indexing.generations.tidy(generation, least=least, stale_share=STALE_SHARE)
        outcome = next(
            (name for name in ("added", "changed", "moved", "unchanged") if report.counts[name]), "unchanged"
        )
        return {
            "outcome": outcome,
            "generation": generation.name,
            "chunks": report.chunks,
            "reused": report.reused,
            "content_hash": content_hash,
        }


@asynccontextmanager
async def open_handlers(database: Database, *, settings: Settings) -> AsyncIterator[Mapping[str, Handler]]:
    """Open what jobs need, over an open database; models and readers follow with the first job."""
    async with running_beside(_tidy(database)), AsyncExitStack() as stack:
        indexing = Indexing(database, settings=settings, stack=stack)
        yield Handlers(indexing, settings=settings, stack=stack).mapping


async def _tidy(database: Database) -> None:
    """Forget, now and then, the bytes of documents that were deleted or replaced, and deletions of long ago."""
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            await Originals(database).prune()
            async with database.transaction() as connection:
                await forget_deletions(connection)
        except FootnoteError as exc:
            _log.info("nothing was tidied up", error=type(exc).__name__)


async def _one(incoming: Incoming) -> AsyncIterator[Incoming]:
    yield incoming


def _kept(job: Job, *, content_hash: str, name: str | None, fingerprint: str) -> KeptDocument:
    given = job.arguments
    return KeptDocument(
        id=str(job.document_id),
        source=str(given.get("source") or given["url"]),
        location=None,
        name=name or str(given["name"]),
        title=str(given["title"]) if given.get("title") else None,
        metadata=_metadata(job),
        content_hash=content_hash,
        pipeline_fingerprint=fingerprint,
        revision=int(str(given["revision"])),
    )


def _metadata(job: Job) -> dict[str, Any]:
    given = job.arguments.get("metadata")
    return dict(given) if isinstance(given, Mapping) else {}


def _require_success(report: IngestReport, document: KeptDocument) -> None:
    if report.failed:
        raise EmbeddingFailed(report.failed[0].reason)
    if report.skipped:
        raise Unreadable(report.skipped[0].reason)
    if report.ignored:  # it was deleted while it was read
        raise DocumentNotFound(document.id)
