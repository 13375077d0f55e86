"""Local files to ingest: new and changed ones, found in batches of a few hundred."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.incoming import Identified
from ingestion.inputs.destination import Destination
from ingestion.inputs.matching import Matching
from ingestion.types import Json, Parsed, Skipped
from storage.documents.originals import Originals

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from ingestion.pipeline.report import IngestReport
    from ingestion.pipeline.tracing import RunTrace
    from storage.database import Database
    from storage.generation import Generation


@dataclass(slots=True)
class FileOnDisk:
    """A local file, found by a listing."""

    path: Path
    revision: int
    matching: Matching
    originals: Originals

    is_carried = False

    @property
    def display_name(self) -> str:
        """Its path."""
        return str(self.path)

    def opened(self) -> AbstractAsyncContextManager[Path]:
        """Return the file itself."""
        return nullcontext(self.path)

    async def identify(self, parsed: Parsed) -> Identified:
        """Compare it with what is stored."""
        return await self.matching.identify(self.path, parsed, revision=self.revision)

    async def keep(self, content_hash: str) -> None:
        """Copy it into the database, unless it is there."""
        await self.originals.put(self.path, content_hash=content_hash)

    async def refresh(self) -> None:
        """Take a new revision: the file is read again."""
        self.revision = await self.matching.next_revision()


LOOK_AHEAD = 256  # files that are hashed and compared in one query


class LocalFiles:
    """Compares a listing of files with what is stored, and yields those that are new or changed.

    Listing and hashing run in a thread, at most one batch ahead of the consumer.
    """

    def __init__(
        self,
        database: Database,
        *,
        generation: Generation,
        settings: IngestionSettings,
        named: Sequence[str],
        beside: Generation | None = None,
        base: Path | None = None,
        metadata: Mapping[str, Json] | None = None,
    ) -> None:
        self._originals = Originals(database)
        self._matching = Matching(
            database,
            destination=Destination(generation.embedding, generation.chunking, generation, settings, beside),
            base=base,
            named=named,
            metadata=dict(metadata or {}),
        )

    async def changed(
        self, listing: Iterable[Path | Skipped], *, report: IngestReport, trace: RunTrace
    ) -> AsyncIterator[FileOnDisk]:
        """Yield the files to ingest; count the others in the report."""
        entries = iter(listing)
        while batch := await asyncio.to_thread(_some, entries):
            with trace.comparing(files=len(batch)) as span:
                # taken before the files are read: what another writer stores meanwhile has a higher revision
                revision = await self._matching.next_revision()
                files = await self._compared(batch, report=report, trace=trace)
                span.set_attribute("footnote.documents.changed", len(files))
            for path in files:
                yield FileOnDisk(path, revision, self._matching, self._originals)

    async def _compared(
        self, entries: Iterable[Path | Skipped], *, report: IngestReport, trace: RunTrace
    ) -> list[Path]:
        paths, skipped = self._matching.named(entries)
        for entry in skipped:
            report.skip(str(entry.path), entry.reason, expected=entry.expected)
            trace.count("ignored" if entry.expected else "skipped")
        changed = await self._matching.changed(paths)
        report.unchanged += len(paths) - len(changed)
        trace.count("unchanged", number=len(paths) - len(changed))
        return changed


def _some(entries: Iterator[Path | Skipped]) -> list[Path | Skipped]:
    return list(itertools.islice(entries, LOOK_AHEAD))
