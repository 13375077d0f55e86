"""Runs the scheduled sources that are due, each in one process at a time; a failure does not stop the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import structlog

from config.errors import FootnoteError
from ingestion.dry_run.commands import plan
from ingestion.errors import CommandRefused
from ingestion.pipeline.factory import Indexing
from ingestion.pipeline.report import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_SKIPPED
from ingestion.plug_ins import suffixes_read
from ingestion.runs.run import ingest, ingest_and_sync
from ingestion.runs.suspension import TenantSuspended
from ingestion.runs.sync import EXIT_REFUSED, require_folders
from storage.errors import CollectionNotFound, StoreUnavailable
from storage.source_runs import SourceKey, SourceRuns

if TYPE_CHECKING:
    from ingestion.pipeline.pipeline import Pipeline, Progress
    from ingestion.runs.run import Watch
    from ingestion.runs.sync import Ingested
    from ingestion.schedule.source_file import Source, SourceList
    from storage.source_runs import SourceRun

State = Literal[
    "done", "failed", "refused", "interrupted", "not due", "running elsewhere", "planned", "tenant suspended"
]
MAX_RETRY_SECONDS = 3600.0
"""Longest wait after a source has failed several times in a row."""

_GRAVITY = (EXIT_INTERRUPTED, EXIT_FAILED, EXIT_REFUSED, EXIT_SKIPPED, EXIT_OK)
_log = structlog.get_logger(__name__)


class UnknownSource(CommandRefused):
    """The file has no source of that name."""


class ChunkingMismatch(CommandRefused):
    """A source has another chunking or language than its collection was built with."""


@dataclass(frozen=True, slots=True)
class SourceOutcome:
    """The outcome of a source.

    Attributes:
        next_at: when it is due next; None if that is now or unknown.

    """

    name: str
    collection: str
    state: State
    outcome: Ingested | None = None
    error: str | None = None
    next_at: datetime | None = None

    @property
    def exit_code(self) -> int:
        """The run's; 1 if it could not begin."""
        return self.outcome.exit_code if self.outcome else EXIT_FAILED if self.error else EXIT_OK

    def as_json(self) -> dict[str, object]:
        """Return it for machines."""
        return {
            "name": self.name,
            "collection": self.collection,
            "state": self.state,
            "error": self.error,
            "next_at": self.next_at.isoformat() if self.next_at else None,
            "report": self.outcome.as_json() if self.outcome else None,
        }

    def as_text(self) -> str:
        """Return it for people."""
        until = " until" if self.state == "not due" else ", due again"
        when = f"{until} {self.next_at:%Y-%m-%d %H:%M %Z}" if self.next_at else ""
        lines = [f"{self.name}: {self.state}{when}"]
        said = [self.error] if self.error else self.outcome.as_text().splitlines() if self.outcome else []
        return "\n".join([*lines, *(f"  {line}" for line in said)])


@dataclass(slots=True)
class SourcesOutcome:
    """The outcomes of all sources."""

    sources: list[SourceOutcome] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """130 when interrupted, 1 when a source failed, 4 when one was refused, 3 when a file was skipped, else 0."""
        codes = {source.exit_code for source in self.sources}
        return next((code for code in _GRAVITY if code in codes), EXIT_FAILED if codes else EXIT_OK)

    def as_json(self) -> Mapping[str, object]:
        """Return it for machines."""
        return {"sources": [source.as_json() for source in self.sources], "exit_code": self.exit_code}

    def as_text(self) -> str:
        """Return it for people."""
        return "\n".join(source.as_text() for source in self.sources)


class Scheduler:
    """Runs the sources of a file."""

    def __init__(
        self, indexing: Indexing, listed: SourceList, *, watch: Watch, progress: Progress | None, force: bool = False
    ) -> None:
        self._indexing = indexing
        self._listed = listed
        self._watch = watch
        self._progress = progress
        self._force = force
        self._runs = SourceRuns(indexing.database)
        self._pipeline: Pipeline | None = None
        self._plugged_in = suffixes_read(indexing.settings.ingestion)

    async def run(self, *, only: Sequence[str] = (), everything: bool = False, dry_run: bool = False) -> SourcesOutcome:
        """Run the sources that are due, in the file's order; with `only` those named, with `everything` all.

        Raises:
            UnknownSource: `only` names a source that the file does not have.
            StoreUnavailable: the database is unavailable.

        """
        known = {source.name for source in self._listed.sources}
        if missing := [name for name in only if name not in known]:
            msg = f"there is no source {missing[0]!r}; there are: {', '.join(sorted(known))}"
            raise UnknownSource(msg)
        result = SourcesOutcome()
        for source in self._listed.sources:
            if only and source.name not in only:
                continue
            if self._pipeline is not None and self._pipeline.is_stopping:
                break
            result.sources.append(await self._one(source, forced=everything or bool(only), dry_run=dry_run))
        return result

    async def _one(self, source: Source, *, forced: bool, dry_run: bool) -> SourceOutcome:
        key = SourceKey(source.collection, source.name)
        not_due = None if forced else await self._not_due(source, key)
        if not_due or dry_run:
            return not_due or await self._planned(source)
        async with self._runs.exclusive(key) as is_ours:
            if not is_ours:
                return SourceOutcome(source.name, source.collection, "running elsewhere")
            not_due = (
                None if forced else await self._not_due(source, key)
            )  # another process may have run it in the meantime
            return not_due or await self._recorded(source, key)

    async def _not_due(self, source: Source, key: SourceKey) -> SourceOutcome | None:
        last = await self._runs.last(key)
        due = _due(source, last)
        if due is None or due <= await self._runs.now():
            return None
        return SourceOutcome(source.name, source.collection, "not due", next_at=due)

    async def _planned(self, source: Source) -> SourceOutcome:
        inputs = replace(source.inputs(self._listed.folder), plugged_in=self._plugged_in)
        try:
            async with self._indexing_for(source) as indexing:
                planned = await plan(indexing, inputs, reindex=False, sync=source.sync)
        except StoreUnavailable:
            raise
        except (FootnoteError, OSError) as exc:
            return SourceOutcome(source.name, source.collection, "failed", error=str(exc))
        return SourceOutcome(source.name, source.collection, "planned", planned)

    async def _recorded(self, source: Source, key: SourceKey) -> SourceOutcome:
        last = await self._runs.last(key)
        failures = last.failures if last and last.definition == source.definition else 0
        wait = self._wait(failures)
        await self._runs.begin(key, definition=source.definition, retry_after=wait)
        try:
            outcome = await self._ingested(source)
        except StoreUnavailable:
            raise  # cannot be recorded; a run that began counts as failed
        except TenantSuspended:  # it waits, and is due when that ends
            await self._runs.give_back(key)
            return SourceOutcome(source.name, source.collection, "tenant suspended")
        except (FootnoteError, OSError) as exc:
            _log.warning("source failed", source=source.name, error=type(exc).__name__)
            await self._runs.fail(key, error=str(exc), retry_after=wait)
            return await self._told(source, key, "failed", error=str(exc))
        state = _state(outcome.exit_code)
        if state == "interrupted":
            await self._runs.give_back(key)
        elif state == "done":
            await self._runs.succeed(key, report=outcome.as_json())
        else:
            await self._runs.fail(key, error=outcome.as_text(), retry_after=wait)
        return await self._told(source, key, state, outcome=outcome)

    async def _told(
        self, source: Source, key: SourceKey, state: State, *, outcome: Ingested | None = None, error: str | None = None
    ) -> SourceOutcome:
        due = _due(source, await self._runs.last(key)) if source.schedule or state in {"failed", "refused"} else None
        return SourceOutcome(source.name, source.collection, state, outcome, error, due)

    async def _ingested(self, source: Source) -> Ingested:
        inputs = replace(source.inputs(self._listed.folder), plugged_in=self._plugged_in)
        async with self._indexing_for(source) as indexing:
            if source.sync:
                require_folders(inputs)
                return await ingest_and_sync(
                    indexing, inputs, force=self._force, watch=self._watched, progress=self._progress
                )
            return await ingest(indexing, inputs, watch=self._watched, progress=self._progress)

    def _watched(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._watch(pipeline)

    def _wait(self, failures: int) -> timedelta:
        settings = self._indexing.settings.sources
        seconds = settings.retry_seconds * 2.0 ** min(failures, 30)
        return timedelta(seconds=min(seconds, MAX_RETRY_SECONDS))

    @asynccontextmanager
    async def _indexing_for(self, source: Source) -> AsyncIterator[Indexing]:
        """Open an `Indexing` with a source's own chunking, which an existing collection must have been built with.

        Raises:
            ChunkingMismatch: it was built with another.

        """
        own = {
            "chunk_tokens": source.chunking.tokens,
            "chunk_overlap": source.chunking.overlap,
            "language": source.language,
        }
        changes = {name: value for name, value in own.items() if value is not None}
        if not changes:
            yield self._indexing
            return
        settings = self._indexing.settings
        changed = settings.model_copy(update={"ingestion": settings.ingestion.model_copy(update=changes)})
        async with AsyncExitStack() as stack:
            indexing = Indexing(self._indexing.database, settings=changed, stack=stack)
            indexing.embedders = self._indexing.embedders  # share open models
            await _require_chunking(indexing, source)
            yield indexing


async def _require_chunking(indexing: Indexing, source: Source) -> None:
    try:
        active = await indexing.collections.active(source.collection)
    except CollectionNotFound:
        return
    built, (_, configured) = active.chunking, await indexing.configured_for(active)
    for name, is_given, there, asked, setting in (
        ("tokens", source.chunking.tokens, built.tokens, configured.tokens, "CHUNK_TOKENS"),
        ("overlap", source.chunking.overlap, built.overlap, configured.overlap, "CHUNK_OVERLAP"),
        ("language", source.language, built.language, configured.language, "LANGUAGE"),
    ):
        if is_given is not None and there != asked:
            msg = (
                f"collection {source.collection!r} was built with {name} {there}, and the source asks for {asked}; "
                f"build it anew with FOOTNOTE_INGESTION__{setting}={asked} python -m ingestion --reindex "
                f"--collection {source.collection}, or take {name} out of the source"
            )
            raise ChunkingMismatch(msg)


def _due(source: Source, last: SourceRun | None) -> datetime | None:
    """Return when a source is due, None if now; a source that missed several times is due once."""
    if last is None or last.definition != source.definition:
        return None
    return last.next_try_at or source.next_after(last.started_at)


def _state(exit_code: int) -> State:
    states: dict[int, State] = {
        EXIT_OK: "done",
        EXIT_SKIPPED: "done",
        EXIT_REFUSED: "refused",
        EXIT_INTERRUPTED: "interrupted",
    }
    return states.get(exit_code, "failed")
