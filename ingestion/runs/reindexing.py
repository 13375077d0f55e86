"""Re-indexing: build a new generation beside the active one, then activate it when it is complete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from ingestion.identity import build_fingerprint
from ingestion.inputs.carried import CarriedDocuments
from storage.collections.missing import MissingDocuments
from storage.errors import EmbeddingMismatch, GenerationBehind, GenerationBusy

if TYPE_CHECKING:
    from ingestion.incoming import Incoming
    from ingestion.inputs.inputs import Arrivals
    from ingestion.pipeline.factory import Indexing
    from ingestion.pipeline.pipeline import Pipeline, Progress
    from ingestion.pipeline.report import IngestReport
    from ingestion.runs.gate import Gate, Verdict
    from ingestion.types import Skipped
    from storage.generation import Generation

MAX_ROUNDS = 50  # of copying what changed meanwhile; each is shorter than the last
NOT_WANTED = "--activate never"
Activate = Literal["never", "always", "if-better"]
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reindexed:
    """The result of a build.

    Attributes:
        activated: whether the new generation is active.
        kept_because: why it is not.

    """

    report: IngestReport
    before: str
    after: str
    activated: bool = False
    kept_because: str | None = None
    verdict: Verdict | None = None

    @property
    def exit_code(self) -> int:
        """The report's; 1 if the generation should have been activated and was not."""
        return self.report.exit_code or int(not self.activated and self.kept_because != NOT_WANTED)

    def build(self) -> dict[str, object]:
        """Return the JSON of the build without the report."""
        return {
            "before": self.before,
            "after": self.after,
            "activated": self.activated,
            "kept_because": self.kept_because,
            "gate": self.verdict.as_json() if self.verdict else None,
        }

    def as_json(self) -> dict[str, object]:
        """Return it for machines."""
        return {**self.report.as_json(), "build": self.build(), "exit_code": self.exit_code}

    def as_text(self) -> str:
        """Return it for people."""
        lines = [self.report.as_text(), *([self.verdict.as_text()] if self.verdict else [])]
        collection = self.report.collection
        if self.activated:
            lines.append(f"generation {self.after} answers now, in place of {self.before}")
            lines.append(f"back again: python -m ingestion rollback {collection}")
        elif self.report.interrupted:
            lines.append("interrupted: go on with --reindex --resume")
        else:
            lines.append(f"generation {self.after} is kept and not activated: {self.kept_because}")
            lines.append(f"activate it: python -m ingestion activate {collection} {self.after}")
        return "\n".join(lines)


class Reindexing:
    """Builds generations of one collection."""

    def __init__(
        self, indexing: Indexing, *, active: Generation, progress: Progress | None = None, force: bool = False
    ) -> None:
        self._indexing = indexing
        self._active = active
        self._progress = progress
        self._force = force

    async def run(
        self,
        listing: Iterable[Path | Skipped],
        *,
        files: Callable[[Generation, Generation], Arrivals],
        resume: bool,
        activate: Activate,
        gate: Gate | None,
        watch: Callable[[Pipeline], None] = lambda _: None,
        total: Callable[[], int | None] = lambda: None,
    ) -> Reindexed:
        """Build a generation from the files and the other stored documents; activate it if allowed.

        Args:
            listing: files, as `find_files` yields them; they take precedence over their stored versions.
            files: returns the documents to ingest into a generation, given the active one.
            resume: continue an unfinished build with the same settings.
            activate: when to activate; ``if-better`` uses the gate.
            gate: golden questions.
            watch: called with the pipeline before it runs; for signal handlers.
            total: returns the number of listed documents once it is known.

        Raises:
            BuildRunning: another process builds a generation of this collection.
            FootnoteError: the model, the database or a setting cannot be used.

        """
        generations = self._indexing.generations
        embedding, chunking = await self._indexing.configured_for(self._active)
        async with generations.building(self._active):
            target = await generations.begin(
                self._active,
                embedding=embedding,
                chunking=chunking,
                fingerprint=build_fingerprint(embedding, chunking, self._indexing.settings.ingestion),
                resume=resume,
            )
            pipeline = await self._indexing.pipeline(target, beside=self._active, bounded=True)
            watch(pipeline)
            result = Reindexed(pipeline.report, before=self._active.name, after=target.name)
            changed = files(target, self._active).changed(listing, report=pipeline.report, trace=pipeline.trace)
            await self._feed(pipeline, changed, total)
            carried = CarriedDocuments(
                self._indexing.database, target=target, settings=self._indexing.settings.ingestion
            )
            await self._catch_up(pipeline, carried)
            if pipeline.is_stopping:
                return result
            await generations.tidy(target, least=self._indexing.settings.ingestion.index_chunks)
            await self._catch_up(pipeline, carried)
            await self._judge(result, target, gate)
            await generations.finish(target, report=result.as_json())
            if self._may_flip(result, activate):
                await self._flip(result, pipeline, carried)
            await generations.finish(target, report=result.as_json())
        return result

    async def _feed(
        self, pipeline: Pipeline, incoming: AsyncIterator[Incoming], total: Callable[[], int | None] = lambda: None
    ) -> None:
        await pipeline.run(incoming, progress=self._progress, total=total)

    async def _catch_up(self, pipeline: Pipeline, carried: CarriedDocuments) -> None:
        active = await self._indexing.collections.active(self._active.collection)
        if not pipeline.is_stopping and active.id != pipeline.generation.id:
            await self._feed(pipeline, carried.documents(active))

    async def _judge(self, result: Reindexed, target: Generation, gate: Gate | None) -> None:
        if gate is None:
            return
        embedders = self._indexing.embedders
        try:
            old = await embedders.of(self._active.embedding)
        except EmbeddingMismatch:  # the gate then compares keyword search with hybrid search
            old = None
        result.verdict = await gate.compare(self._active, target, embedders=(old, await embedders.of(target.embedding)))

    def _may_flip(self, result: Reindexed, activate: Activate) -> bool:
        if activate == "never":
            result.kept_because = NOT_WANTED
        elif activate == "if-better" and result.verdict and result.verdict.reason:
            result.kept_because = result.verdict.reason
        elif not self._force and result.report.numbers["failed"]:
            result.kept_because = f"{result.report.numbers['failed']} documents failed; --yes takes it as it is"
        return result.kept_because is None

    async def _flip(self, result: Reindexed, pipeline: Pipeline, carried: CarriedDocuments) -> None:
        generations, collection = self._indexing.generations, self._active.collection
        for _ in range(MAX_ROUNDS):
            before = len(carried.tried)
            try:
                flip = await generations.activate(collection, result.after, complete=True)
            except GenerationBehind:
                await self._catch_up(pipeline, carried)
                if len(carried.tried) > before:
                    continue
                if not self._force:
                    result.kept_because = await self._what_is_missing(pipeline.generation)
                    return
                flip = await generations.activate(collection, result.after)
            except GenerationBusy as exc:
                result.kept_because = str(exc)
                return
            result.before, result.activated = flip.before, True
            return
        result.kept_because = "documents change faster than they can be carried over; activate it when it is quieter"

    async def _what_is_missing(self, target: Generation) -> str:
        active = await self._indexing.collections.active(target.collection)
        missing = await MissingDocuments(self._indexing.database, target=target, reference=active).count()
        return f"{missing} documents that answer today could not be carried over; --yes takes it without them"


async def catch_up(
    indexing: Indexing,
    *,
    target: Generation,
    reference: Generation,
    watch: Callable[[Pipeline], None] = lambda _: None,
    progress: Progress | None = None,
) -> IngestReport:
    """Copy documents that are newer in `reference` into `target`, from the database's own copies."""
    pipeline = await indexing.pipeline(target, beside=reference)
    watch(pipeline)
    carried = CarriedDocuments(indexing.database, target=target, settings=indexing.settings.ingestion)
    before = -1
    while len(carried.tried) > before and not pipeline.is_stopping:  # a displaced document may be missing again
        before = len(carried.tried)
        await pipeline.run(carried.documents(reference), progress=progress)
    return pipeline.report
