"""The handlers of each kind of job."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from ingestion.errors import FetchRefused, Unreadable
from ingestion.identity import pipeline_fingerprint
from ingestion.incoming import Incoming
from ingestion.inputs.given import READERS
from ingestion.inputs.stored import FromDatabase, KeptDocument
from ingestion.jobs.evaluating import evaluate
from ingestion.pipeline.factory import Indexing
from ingestion.readers.process_pool import hash_file
from ingestion.runs.reindexing import catch_up
from storage.audit.keeping import tidy
from storage.collections.dropping import drop_marked
from storage.deletions import forget_deletions
from storage.documents.originals import Originals
from storage.documents.sources import normalized
from storage.documents.writes import Documents
from storage.errors import DocumentNotFound, GenerationNotFound
from storage.jobs.payloads import CatchUp, DocumentVersion, Evaluate, IndexDocument, IndexUrl
from storage.search.lexicon import STALE_SHARE, recount_deletions
from storage.search.rewording import Rewording

if TYPE_CHECKING:
    from config.settings import AuditSettings, Settings
    from ingestion.jobs.retries import Handler, Progress
    from ingestion.pipeline.report import IngestReport
    from ingestion.web.fetching import WebFetcher
    from storage.database import Database
    from storage.jobs.jobs import Job

Result = Mapping[str, object]
MAX_WARNINGS = 100  # of a document, in its job's result
TIDY_SECONDS = 1800.0
_log = structlog.get_logger(__name__)


class Handlers:
    """The handlers of one worker; `mapping` has them by kind."""

    def __init__(self, indexing: Indexing, *, settings: Settings, stack: AsyncExitStack) -> None:
        self._indexing = indexing
        self._settings = settings
        self._stack = stack
        self._fetcher: WebFetcher | None = None
        self.mapping: Mapping[str, Handler] = {
            IndexDocument.kind: self.index_document,
            IndexUrl.kind: self.index_url,
            CatchUp.kind: self.catch_up,
            Evaluate.kind: partial(evaluate, database=indexing.database),
        }

    async def index_document(self, job: Job, progress: Progress) -> Result:
        """Index bytes that were uploaded.

        Raises:
            Unreadable: no reader takes them.
            EmbeddingFailed: the model failed on them.
            DocumentNotFound: the document was deleted meanwhile.
            SourceTaken: another document has its source by now.
            CollectionNotFound: its collection is gone.

        """
        payload = IndexDocument.of(job.arguments)
        return await self._index(job, payload, progress, content_hash=payload.content_hash, name=payload.name)

    async def index_url(self, job: Job, progress: Progress) -> Result:
        """Fetch a page and index it.

        Raises:
            FetchRefused: it must not be fetched, or is none that can be read.
            FetchFailed: it could not be fetched now.

        """
        from ingestion.web.fetching import Fetched

        payload = IndexUrl.of(job.arguments)
        fetcher = await self._opened_fetcher()
        with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
            fetched = await fetcher.fetch(payload.url, folder=Path(folder))
            if not isinstance(fetched, Fetched):
                msg = "the server says that nothing changed, though nothing was there"
                raise FetchRefused(msg)
            content_hash = await asyncio.to_thread(hash_file, fetched.path)
            await Originals(self._indexing.database).put(fetched.path, content_hash=content_hash)
            return await self._index(job, payload, progress, content_hash=content_hash, name=fetched.path.name)

    async def catch_up(self, job: Job, progress: Progress) -> Result:
        """Bring into the active generation the documents that changed in the one before it."""
        target = await self._indexing.collections.active(job.collection)
        try:
            reference = await self._indexing.generations.get(job.collection, CatchUp.of(job.arguments).generation)
        except GenerationNotFound:
            return {"outcome": "nothing to do: that generation was dropped"}
        if reference.id == target.id:
            return {"outcome": "nothing to do: that generation answers"}
        report = await catch_up(self._indexing, target=target, reference=reference)
        progress.tell(report.documents, total=report.documents)
        return {"carried": report.carried, "failed": report.numbers["failed"], "chunks": report.chunks}

    async def _opened_fetcher(self) -> WebFetcher:
        """Return this worker's one fetcher, which limits the rate of requests to each host."""
        from ingestion.web.fetching import WebFetcher

        if self._fetcher is None:
            self._fetcher = await self._stack.enter_async_context(WebFetcher(self._settings.web))
        return self._fetcher

    async def _index(
        self, job: Job, payload: DocumentVersion, progress: Progress, *, content_hash: str, name: str
    ) -> Result:
        progress.tell(0, total=1)
        generation = await self._indexing.collections.active(job.collection)
        metadata = {**payload.metadata} | ({} if payload.readers is None else {READERS: list(payload.readers)})
        pipeline = await self._indexing.pipeline(generation, first=progress.confirm)
        document = KeptDocument(
            id=str(job.document_id),
            source=normalized(payload.source),  # a job of an older server
            location=None,
            name=name,
            title=payload.title or None,
            metadata=metadata,
            content_hash=content_hash,
            pipeline_fingerprint=pipeline_fingerprint(
                generation.embedding,
                generation.chunking,
                metadata={**metadata, "title": payload.title},
                settings=self._settings.ingestion,
            ),
            revision=payload.revision,
        )
        incoming = FromDatabase(
            document,
            Documents(self._indexing.database, generation=generation),
            Originals(self._indexing.database),
        )
        if await incoming.is_stored():
            return {"outcome": "unchanged", "generation": generation.name, "content_hash": content_hash}
        report = await pipeline.run(_one(incoming))
        _require_success(report, document, failure=pipeline.first_failure)
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
            "attachments": report.attachments,
            "content_hash": content_hash,
            "warnings": [entry.warning.as_json() for entry in report.warned[:MAX_WARNINGS]],
        }


@asynccontextmanager
async def open_handlers(database: Database, *, settings: Settings) -> AsyncIterator[Mapping[str, Handler]]:
    """Open what jobs need, over an open database; models and readers follow with the first job."""
    tidying = running_beside(_tidy(database, settings.audit))
    async with tidying, running_beside(_reword(database)), AsyncExitStack() as stack:
        indexing = Indexing(database, settings=settings, stack=stack)
        yield Handlers(indexing, settings=settings, stack=stack).mapping


async def _tidy(database: Database, audit: AuditSettings) -> None:
    """Delete, now and then, bytes and words without a document, old records of deletions, and what is marked."""
    chores: Mapping[str, Callable[[], Awaitable[object]]] = {
        "originals": Originals(database).prune,
        "records of deletions": partial(forget_deletions, database),
        "marked tables": partial(drop_marked, database),
        "words": partial(recount_deletions, database),
        "audit record": partial(tidy, database, settings=audit),
    }
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        for name, chore in chores.items():
            try:
                await chore()
            except FootnoteError as exc:  # the others do their work all the same
                _log.info("something was not tidied up", what=name, error=type(exc).__name__)


async def _reword(database: Database) -> None:
    """Bring chunks of before an upgrade to what they are found by now."""
    while True:
        try:
            await Rewording(database).run()
        except FootnoteError as exc:
            _log.info("no chunks were reworded", error=type(exc).__name__)
        await asyncio.sleep(TIDY_SECONDS)


async def _one(incoming: Incoming) -> AsyncIterator[Incoming]:
    yield incoming


def _require_success(report: IngestReport, document: KeptDocument, *, failure: Exception | None) -> None:
    if failure is not None:
        raise failure
    if report.skipped:
        raise Unreadable(report.skipped[0].reason)
    if report.ignored:  # it was deleted while it was read
        raise DocumentNotFound(document.id)
