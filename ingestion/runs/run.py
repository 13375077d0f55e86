"""Runs: ingest into the active generation, or build a new one beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from ingestion.inputs.inputs import Arrivals, Listed
from ingestion.inputs.local_files import LocalFiles
from ingestion.pipeline.report import IngestReport
from ingestion.runs.gate import Gate
from ingestion.runs.pruning import prune
from ingestion.runs.reindexing import Reindexed, Reindexing
from ingestion.runs.suspension import while_active
from ingestion.runs.sync import Sync, WithSync
from storage.errors import CollectionNotFound, GenerationNotFound, GenerationRetired

if TYPE_CHECKING:
    from ingestion.inputs.destination import Destination
    from ingestion.inputs.inputs import Inputs
    from ingestion.inputs.web_pages import UrlDocuments
    from ingestion.pipeline.factory import Indexing
    from ingestion.pipeline.pipeline import Pipeline, Progress
    from ingestion.runs.gate import GoldenQuestion
    from ingestion.runs.reindexing import Activate
    from storage.generation import Generation

MAX_FLIPS = 10  # during one run
Watch = Callable[["Pipeline"], None]
_log = structlog.get_logger(__name__)


class Counting:
    """Counts a listing in a thread while its files are ingested."""

    def __init__(self, listing: Callable[[], Iterator[object]]) -> None:
        self._task = asyncio.ensure_future(asyncio.to_thread(_count, listing))

    def total(self) -> int | None:
        """Return the count, or None until it is known."""
        done = self._task.done() and not self._task.cancelled() and self._task.exception() is None
        return self._task.result() if done else None


@dataclass(slots=True)
class _Run:
    """What a sync needs to know of the run before it."""

    inputs: Inputs
    listed: Listed
    outcome: IngestReport | Reindexed
    pages: list[UrlDocuments] = field(default_factory=list)

    @property
    def report(self) -> IngestReport:
        return self.outcome.report if isinstance(self.outcome, Reindexed) else self.outcome

    @property
    def gone(self) -> Sequence[str]:
        return self.pages[-1].gone if self.pages else ()


async def ingest(indexing: Indexing, inputs: Inputs, *, watch: Watch, progress: Progress | None = None) -> IngestReport:
    """Ingest files and pages into the active generation; if another is activated meanwhile, continue with that one.

    Raises:
        FootnoteError: the collection, the database or the model's files cannot be used; the message says what to do.

    """
    report = (await _ingested(indexing, inputs, watch=watch, progress=progress)).report
    if not inputs.patterns and not report.interrupted and await asyncio.to_thread(inputs.are_more_than_files):
        await _count_gone(indexing, inputs, report)
    return report


async def _count_gone(indexing: Indexing, inputs: Inputs, report: IngestReport) -> None:
    """Count the documents of the folders named that have no file any more, unless the generation was dropped since."""
    try:
        generation = await indexing.generations.get(report.collection, report.generation)
    except GenerationNotFound:
        return
    sync = Sync(indexing.database, generation=generation, inputs=inputs, settings=indexing.settings.ingestion)
    report.count_gone([document.source async for document in sync.gone()])


async def ingest_and_sync(
    indexing: Indexing, inputs: Inputs, *, force: bool, watch: Watch, progress: Progress | None = None
) -> WithSync:
    """Run `ingest`; then, if nothing failed, delete the documents whose files are gone, or refuse to.

    Raises:
        FootnoteError: as `ingest`.

    """
    run = await _ingested(indexing, inputs, watch=watch, progress=progress, sync=True)
    return await _synced(indexing, run, force=force)


async def reindex(
    indexing: Indexing,
    inputs: Inputs,
    *,
    resume: bool,
    activate: Activate,
    golden: Sequence[GoldenQuestion] | None,
    force: bool,
    watch: Watch,
    progress: Progress | None = None,
    sync: bool = False,
) -> Reindexed | IngestReport | WithSync:
    """Build a new generation from the files and the other stored documents; a new collection gets its first.

    A sync comes last and compares with the new generation, where moved files have their new sources, whether or not it
    was activated. It deletes from every generation.

    Raises:
        FootnoteError: as `ingest`; or another process is building a generation.

    """
    try:
        active = await indexing.collections.active(inputs.collection)
    except CollectionNotFound:
        run = await _ingested(indexing, inputs, watch=watch, progress=progress, sync=sync)
        return await _synced(indexing, run, force=force) if sync else run.report
    listed = Listed(inputs)
    gate = Gate(indexing.database, settings=indexing.settings, golden=golden) if golden else None
    counting = Counting(inputs.listing)
    pages: list[UrlDocuments] = []
    async with (
        while_active(indexing.database) as held,
        _open_pages(indexing, inputs, sync=sync) as open_pages,
    ):

        def watched(pipeline: Pipeline) -> None:
            held(pipeline)
            watch(pipeline)

        def arrivals(generation: Generation, beside: Generation | None) -> Arrivals:
            return _arrivals(indexing, inputs, generation, beside=beside, open_pages=open_pages, pages=pages)

        reindexed = await Reindexing(indexing, active=active, progress=progress, force=force).run(
            listed,
            files=arrivals,
            resume=resume,
            activate=activate,
            gate=gate,
            watch=watched,
            total=counting.total,
        )
    run = _Run(inputs, listed, reindexed, pages)
    outcome = await _synced(indexing, run, force=force) if sync else reindexed
    await prune(indexing, inputs.collection)
    return outcome


async def _ingested(
    indexing: Indexing, inputs: Inputs, *, watch: Watch, progress: Progress | None, sync: bool = False
) -> _Run:
    counting = Counting(inputs.listing)
    async with (
        while_active(indexing.database) as held,
        _open_pages(indexing, inputs, sync=sync) as open_pages,
    ):
        for attempt in range(MAX_FLIPS):
            generation = await indexing.ensure(inputs.collection)
            pipeline = await indexing.pipeline(generation, bounded=True)
            held(pipeline)
            watch(pipeline)
            run = _Run(inputs, Listed(inputs), pipeline.report)
            arrivals = _arrivals(indexing, inputs, generation, beside=None, open_pages=open_pages, pages=run.pages)
            changed = arrivals.changed(run.listed, report=pipeline.report, trace=pipeline.trace)
            try:
                report = await pipeline.run(changed, progress=progress, total=counting.total)
            except GenerationRetired:
                if attempt == MAX_FLIPS - 1:
                    raise
                _log.info("another generation answers now; going on there", collection=inputs.collection)
            else:
                if not report.interrupted:
                    await indexing.generations.tidy(generation, least=indexing.settings.ingestion.index_chunks)
                return run
    raise AssertionError


async def _synced(indexing: Indexing, run: _Run, *, force: bool) -> WithSync:
    report = run.report
    # one that is over the quota is there: what is gone makes room for it
    if report.interrupted or report.numbers["failed"] > report.over_quota:
        return WithSync(run.outcome, report, None)
    generation = await indexing.generations.get(report.collection, report.generation)
    sync = Sync(indexing.database, generation=generation, inputs=run.inputs, settings=indexing.settings.ingestion)
    synced = await sync.run(run.listed, urls=run.gone, force=force, on_deleted=partial(report.count, "deleted"))
    return WithSync(run.outcome, report, synced)


OpenPages = Callable[["Destination"], "UrlDocuments | None"]


@asynccontextmanager
async def _open_pages(indexing: Indexing, inputs: Inputs, *, sync: bool) -> AsyncIterator[OpenPages]:
    """Open a factory of a generation's `UrlDocuments`; it returns None if there are no URLs."""
    if not inputs.urls:
        yield lambda _: None
        return
    from ingestion.inputs.web_pages import UrlDocuments, open_web

    async with open_web(indexing.settings.web) as (fetcher, folder):
        yield lambda destination: UrlDocuments(
            indexing.database,
            destination=destination,
            fetcher=fetcher,
            limits=indexing.settings.web,
            folder=folder,
            urls=inputs.urls,
            metadata=inputs.metadata,
            sync=sync,
        )


def _arrivals(
    indexing: Indexing,
    inputs: Inputs,
    generation: Generation,
    *,
    beside: Generation | None,
    open_pages: OpenPages,
    pages: list[UrlDocuments],
) -> Arrivals:
    from ingestion.inputs.destination import Destination

    opened = open_pages(
        Destination(generation.embedding, generation.chunking, generation, indexing.settings.ingestion, beside)
    )
    pages += [opened] if opened else []
    files = LocalFiles(
        indexing.database,
        generation=generation,
        beside=beside,
        settings=indexing.settings.ingestion,
        base=inputs.base,
        named=inputs.files,
        metadata=inputs.metadata,
    )
    return Arrivals(files, opened)


def _count(listing: Callable[[], Iterator[object]]) -> int:
    return sum(1 for _ in listing())
