"""What ``python -m ingestion`` does, once its arguments are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from ingestion.administration import administer, prune
from ingestion.arguments import INGEST
from ingestion.files import LocalFiles
from ingestion.gate import Gate, read_golden
from ingestion.reindexing import Reindexing
from ingestion.sources import find_files
from storage.errors import CollectionNotFound, GenerationRetired

if TYPE_CHECKING:
    import argparse

    from ingestion.gate import GoldenQuestion
    from ingestion.indexing import Indexing
    from ingestion.pipeline import Pipeline, Progress
    from ingestion.reindexing import Activate, Reindexed
    from ingestion.report import IngestReport
    from ingestion.types import Json, Skipped
    from storage.collections import Generation

MOST_FLIPS = 10  # during one run
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be ingested, and how.

    Attributes:
        paths: as a user or a shell writes them.
        base: folder that sources are named relative to.
        metadata: for every document.

    """

    collection: str
    paths: Sequence[str]
    base: Path | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)

    def listing(self) -> Iterator[Path | Skipped]:
        """Yield the files that there are now."""
        return find_files(self.paths)


class Counting:
    """Counts a listing on a thread of its own, while its files are ingested."""

    def __init__(self, listing: Callable[[], Iterator[object]]) -> None:
        self._task = asyncio.ensure_future(asyncio.to_thread(_count, listing))

    def total(self) -> int | None:
        """Return how many there are, once that is known."""
        done = self._task.done() and not self._task.cancelled() and self._task.exception() is None
        return self._task.result() if done else None


class Outcome(Protocol):
    """What a command prints, and its exit code."""

    @property
    def exit_code(self) -> int: ...  # noqa: D102 (see above)

    def as_json(self) -> Mapping[str, object]: ...  # noqa: D102 (see above)

    def as_text(self) -> str: ...  # noqa: D102 (see above)


Watch = Callable[["Pipeline"], None]


async def run_command(options: argparse.Namespace, indexing: Indexing, *, watch: Watch, progress: Progress) -> Outcome:
    """Do what the arguments say; see `ingestion.arguments`.

    Raises:
        FootnoteError: it cannot be done; the message says what to do.

    """
    if options.command != INGEST:
        return await administer(options, indexing, watch=watch, progress=progress)
    wanted = Wanted(options.collection, options.paths, base=options.base, metadata=dict(options.metadata))
    if options.reindex:
        golden = await asyncio.to_thread(read_golden, options.gate) if options.gate else None
        return await reindex(
            indexing,
            wanted,
            resume=options.resume,
            activate=options.activate or ("if-better" if golden else "always"),
            golden=golden,
            force=options.yes,
            watch=watch,
            progress=progress,
        )
    return await ingest(indexing, wanted, watch=watch, progress=progress)


async def ingest(indexing: Indexing, wanted: Wanted, *, watch: Watch, progress: Progress | None = None) -> IngestReport:
    """Bring files into the generation that answers; where another takes its place meanwhile, go on with that one.

    Raises:
        FootnoteError: the collection, the database or the model's files cannot be used; the message says what to do.

    """
    counting = Counting(wanted.listing)
    for attempt in range(MOST_FLIPS):
        generation = await indexing.ensure(wanted.collection)
        pipeline = await indexing.pipeline(generation)
        watch(pipeline)
        files = _files(indexing, wanted)(generation, None)
        changed = files.changed(wanted.listing(), report=pipeline.report, trace=pipeline.trace)
        try:
            report = await pipeline.run(changed, progress=progress, total=counting.total)
        except GenerationRetired:
            if attempt == MOST_FLIPS - 1:
                raise
            _log.info("another generation answers now; going on there", collection=wanted.collection)
        else:
            if not report.interrupted:
                await indexing.generations.build_index(generation)
            return report
    raise AssertionError


async def reindex(
    indexing: Indexing,
    wanted: Wanted,
    *,
    resume: bool,
    activate: Activate,
    golden: Sequence[GoldenQuestion] | None,
    force: bool,
    watch: Watch,
    progress: Progress | None = None,
) -> Reindexed | IngestReport:
    """Build a new generation from the files and all that is stored; a collection that is new gets its first one.

    Raises:
        FootnoteError: as `ingest`; or another process builds one.

    """
    try:
        active = await indexing.collections.active(wanted.collection)
    except CollectionNotFound:
        return await ingest(indexing, wanted, watch=watch, progress=progress)
    gate = Gate(indexing.database, settings=indexing.settings, golden=golden) if golden else None
    counting = Counting(wanted.listing)
    reindexed = await Reindexing(indexing, active=active, progress=progress, force=force).run(
        wanted.listing(),
        files=_files(indexing, wanted),
        resume=resume,
        activate=activate,
        gate=gate,
        watch=watch,
        total=counting.total,
    )
    await prune(indexing, wanted.collection)
    return reindexed


def _count(listing: Callable[[], Iterator[object]]) -> int:
    return sum(1 for _ in listing())


def _files(indexing: Indexing, wanted: Wanted) -> Callable[[Generation, Generation | None], LocalFiles]:
    def files(generation: Generation, beside: Generation | None) -> LocalFiles:
        return LocalFiles(
            indexing.database,
            generation=generation,
            beside=beside,
            settings=indexing.settings.ingestion,
            base=wanted.base,
            metadata=wanted.metadata,
        )

    return files
