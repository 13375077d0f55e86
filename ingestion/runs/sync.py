"""`--sync`: deletes documents whose files are gone, and refuses to if that looks like an accident.

It runs after the ingestion, when a moved file has its document under the new source.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from config.telemetry import spans
from config.telemetry.metrics import INGESTED_DOCUMENTS
from ingestion.errors import CommandRefused
from ingestion.inputs.locations import FileLocations
from ingestion.names import source_name
from ingestion.pipeline.report import EXIT_OK, EXIT_SKIPPED
from ingestion.retrying import RETRYING
from storage.documents.locations import LocatedDocument, LocatedDocuments

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from ingestion.inputs.inputs import Inputs, Listed
    from ingestion.pipeline.report import IngestReport
    from storage.database import Database
    from storage.generation import Generation

EXIT_REFUSED = 4
FLOOR = 5  # documents that may always be deleted, so that small collections can be synced
PAGE = 256
MAX_NAMED = 5
_SPOOLED = 1 << 20  # bytes of the list of deletions kept in memory; more goes to disk


class SyncRefused(CommandRefused):
    """The paths do not say which files there should be."""

    exit_code = EXIT_REFUSED


def require_folders(inputs: Inputs) -> None:
    """Raise `SyncRefused` unless the paths say which files there should be."""
    if inputs.patterns:
        msg = f"--sync needs files and folders; the pattern {inputs.patterns[0]!r} does not say what else was there"
        raise SyncRefused(msg)
    if not inputs.paths:
        msg = "--sync needs the folders whose documents are to follow them; name at least one"
        raise SyncRefused(msg)


@dataclass(frozen=True, slots=True)
class Synced:
    """The result of a sync.

    Attributes:
        gone: documents whose files are gone.
        documents: in the collection before the deletion.
        named: sources of the first that are gone.
        refused: why nothing was deleted; None if it was.

    """

    gone: int
    documents: int
    deleted: int = 0
    named: Sequence[str] = ()
    refused: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return it for machines."""
        return {"gone": self.gone, "deleted": self.deleted, "first": list(self.named), "refused": self.refused}

    def as_text(self) -> str:
        """Return it for people; empty unless it was refused."""
        if self.refused is None:
            return ""
        more = f" and {self.gone - len(self.named)} more" if self.gone > len(self.named) else ""
        named = ", ".join(source_name(name) for name in self.named)
        return f"sync: nothing was deleted: {self.refused}; --yes deletes all the same: {named}{more}"


class Sync:
    """Compares a run's inputs with the documents of a generation, and deletes those that are gone."""

    def __init__(
        self, database: Database, *, generation: Generation, inputs: Inputs, settings: IngestionSettings
    ) -> None:
        self._locations = FileLocations(base=inputs.base, named=inputs.files)
        self._located = LocatedDocuments(database, generation=generation)
        self._settings = settings
        self._collection = generation.collection

    async def gone(self, *, urls: Sequence[str] = ()) -> AsyncIterator[LocatedDocument]:
        """Yield the documents whose files are gone, and those with a source in `urls`."""
        after = ""
        while page := await RETRYING(self._located.page, after=after, limit=PAGE, with_files=True):
            after = page[-1].id
            for document in await asyncio.to_thread(self._gone_among, page):
                yield document
        for begin in range(0, len(urls), PAGE):
            for document in await RETRYING(self._located.with_sources, urls[begin : begin + PAGE]):
                yield document

    async def run(
        self,
        listed: Listed,
        *,
        urls: Sequence[str] = (),
        force: bool = False,
        on_deleted: Callable[[str], None] = lambda _: None,
    ) -> Synced:
        """Delete documents that are gone from every generation of the collection, or refuse to.

        `on_deleted` is called with the source of each.
        """
        with (
            spans.span("footnote.ingest.sync") as span,
            tempfile.SpooledTemporaryFile(max_size=_SPOOLED, mode="w+", encoding="utf-8") as file,
        ):
            tally = Tally(await RETRYING(self._located.count))
            async for document in self.gone(urls=urls):
                await asyncio.to_thread(self.tell, tally, document)
                file.write(json.dumps(_row(document)) + "\n")
            refused = await asyncio.to_thread(self.refusal, tally, listed)
            deleted = 0 if refused and not force else await self._delete(file, force=force, on_deleted=on_deleted)
            span.set_attributes({"footnote.documents.gone": tally.gone, "footnote.documents.deleted": deleted})
        if deleted:
            labels = {"footnote.collection": self._collection, "footnote.outcome": "deleted"}
            INGESTED_DOCUMENTS.add(deleted, labels)
        return Synced(tally.gone, tally.documents, deleted, tally.named, None if force else refused)

    def tell(self, tally: Tally, document: LocatedDocument) -> None:
        """Count a document that is gone. It does file system calls."""
        tally.add(document, roots=self._locations.roots(document))
        if tally.empty is None:
            tally.empty = self._locations.empty_folder(document)

    def refusal(self, tally: Tally, listed: Listed) -> str | None:
        """Return why the deletion needs ``--yes``; None if it does not."""
        if not tally.gone:
            return None
        if listed.closed is not None:
            return f"{source_name(listed.closed)} cannot be looked into"
        for folder in listed.files:
            if not folder.exists():  # nor is what a symbolic link leads to, whose disk may not be mounted
                return f"{source_name(folder)} is missing"
        named = (folder for folder in listed.files if folder in tally.roots and folder.is_dir())
        is_there = self._locations.is_there
        empty = next((folder for folder in named if not (listed.files[folder] and is_there(folder))), tally.empty)
        if empty is not None:
            return f"there is no file under {source_name(empty)}; a disk may not be mounted"
        share = tally.gone / max(1, tally.documents)
        if tally.gone > FLOOR and share > self._settings.sync_max_deleted:
            return (
                f"{tally.gone} of {tally.documents} documents are gone, more than the fraction of "
                f"{self._settings.sync_max_deleted:g} set by FOOTNOTE_INGESTION__SYNC_MAX_DELETED"
            )
        return None

    async def _delete(self, file: IO[str], *, force: bool, on_deleted: Callable[[str], None]) -> int:
        deleted = 0
        file.seek(0)
        for line in file:
            document = LocatedDocument(**json.loads(line))
            is_gone = document.location is None or await asyncio.to_thread(self._is_still_gone, document, force=force)
            if is_gone and await RETRYING(self._located.delete, document):
                deleted += 1
                on_deleted(document.source)
        return deleted

    def _is_still_gone(self, document: LocatedDocument, *, force: bool) -> bool:
        """Tell whether a file has not come back since, nor its disk been taken away."""
        locations = self._locations
        if not locations.is_gone(document):
            return False
        is_there = all(map(locations.is_there, locations.roots(document)))
        return force or (is_there and locations.empty_folder(document) is None)

    def _gone_among(self, page: Sequence[LocatedDocument]) -> list[LocatedDocument]:
        locations = self._locations
        return [document for document in page if locations.roots(document) and locations.is_gone(document)]


@dataclass(slots=True)
class Tally:
    """Counts the documents that are gone, and keeps the named paths they were under and the first sources.

    Attributes:
        empty: an empty folder below which any of them was.

    """

    documents: int
    gone: int = 0
    named: list[str] = field(default_factory=list)
    roots: set[Path] = field(default_factory=set)
    empty: Path | None = None

    def add(self, document: LocatedDocument, *, roots: Iterable[Path]) -> None:
        """Count one."""
        self.gone += 1
        self.roots.update(roots)
        if len(self.named) < MAX_NAMED:
            self.named.append(document.source)


class Ingested(Protocol):
    """The result of a run before its sync: an `IngestReport`, or what holds one."""

    @property
    def exit_code(self) -> int: ...  # noqa: D102 (see above)

    def as_json(self) -> Mapping[str, object]: ...  # noqa: D102 (see above)

    def as_text(self) -> str: ...  # noqa: D102 (see above)


@dataclass(frozen=True, slots=True)
class WithSync:
    """The results of a run and its sync.

    Attributes:
        synced: None if the run failed or was interrupted.

    """

    run: Ingested
    report: IngestReport
    synced: Synced | None

    @property
    def exit_code(self) -> int:
        """The run's; 4 if that is 0 or 3 and the sync was refused."""
        code = self.run.exit_code
        return EXIT_REFUSED if code in {EXIT_OK, EXIT_SKIPPED} and self.synced and self.synced.refused else code

    def as_json(self) -> dict[str, object]:
        """Return it for machines."""
        sync = self.synced.as_json() if self.synced else {"gone": None, "deleted": 0, "refused": self._why_not()}
        return {**self.run.as_json(), "sync": sync, "exit_code": self.exit_code}

    def as_text(self) -> str:
        """Return it for people."""
        said = self.synced.as_text() if self.synced else f"sync: nothing was deleted: {self._why_not()}"
        return "\n".join(filter(None, [self.run.as_text(), said]))

    def _why_not(self) -> str:
        return "it was interrupted" if self.report.interrupted else "documents failed"


def _row(document: LocatedDocument) -> dict[str, object]:
    return {name: getattr(document, name) for name in LocatedDocument.__slots__}
