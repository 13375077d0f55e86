"""Finding documents that lack chunks, and reading them anew from the bytes that the database keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ingestion.inputs.stored import FromDatabase, KeptDocument
from storage.documents.incomplete import IncompleteDocument, IncompleteDocuments
from storage.documents.originals import Originals
from storage.documents.versions import CHANGED_BY_NODES
from storage.documents.writes import Documents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingestion.pipeline.factory import Indexing
    from ingestion.pipeline.pipeline import Pipeline, Progress
    from ingestion.pipeline.report import IngestReport
    from ingestion.types import Json
    from storage.documents.versions import NewDocument
    from storage.generation import Generation

MAX_SHOWN = 100
LOST = "its bytes are not kept: add it again"
CHANGED = "nodes were added to it or deleted through LlamaIndex: add them, or ingest it, again"


@dataclass(slots=True)
class Checked:
    """The result of a check.

    Attributes:
        documents: number of those that were looked at.
        lost: those that cannot be read anew, with the reason.
        report: of the repair; None if nothing was repaired.

    """

    collection: str
    documents: int
    incomplete: list[IncompleteDocument] = field(default_factory=list)
    lost: list[tuple[IncompleteDocument, str]] = field(default_factory=list)
    report: IngestReport | None = None

    @property
    def exit_code(self) -> int:
        """0 if every document is whole now."""
        if self.lost or (self.incomplete and self.report is None):
            return 1
        return self.report.exit_code if self.report else 0

    def as_json(self) -> Mapping[str, object]:
        """Return it for machines."""
        return {
            "collection": self.collection,
            "documents": self.documents,
            "incomplete": [_json(each) for each in self.incomplete],
            "lost": [{**_json(each), "reason": reason} for each, reason in self.lost],
            "repair": self.report.as_json() if self.report else None,
            "exit_code": self.exit_code,
        }

    def as_text(self) -> str:
        """Return it for people."""
        if not self.incomplete:
            return f"{self.documents} documents of {self.collection!r} are whole"
        lines = [f"{len(self.incomplete)} of {self.documents} documents of {self.collection!r} lack chunks"]
        lines += [f"  {each.source}: {each.found} of {each.chunks} chunks" for each in self.incomplete[:MAX_SHOWN]]
        lines += [f"not repaired: {each.source}: {reason}" for each, reason in self.lost[:MAX_SHOWN]]
        lines.append(f"read anew: {self.report.as_text()}" if self.report else "read them anew: --repair")
        return "\n".join(lines)


async def check(
    indexing: Indexing,
    collection: str,
    *,
    repair: bool,
    watch: Callable[[Pipeline], None] = lambda _: None,
    progress: Progress | None = None,
) -> Checked:
    """Find the documents of the active generation that lack chunks; with `repair` read them anew.

    Raises:
        CollectionNotFound: there is no such collection.
        FootnoteError: the model or the database cannot be used.

    """
    generation = await indexing.collections.active(collection)
    documents = IncompleteDocuments(indexing.database, generation=generation)
    checked = Checked(collection, await documents.count(), [each async for each in documents.all()])
    checked.lost = [(each, reason) for each in checked.incomplete if (reason := _why_lost(each.row))]
    rows = {each.row.id: each.row for each in checked.incomplete if not _why_lost(each.row)}
    if repair and rows:
        pipeline = await indexing.pipeline(generation)
        watch(pipeline)
        checked.report = await pipeline.run(
            _kept(indexing, generation, list(rows.values())), progress=progress, total=lambda: len(rows)
        )
    return checked


def _why_lost(row: NewDocument) -> str | None:
    if row.original is None:
        return LOST
    return CHANGED if row.pipeline_fingerprint.endswith(CHANGED_BY_NODES) else None


async def _kept(indexing: Indexing, generation: Generation, rows: Sequence[NewDocument]) -> AsyncIterator[FromDatabase]:
    documents = Documents(indexing.database, generation=generation)
    originals = Originals(indexing.database)
    for row in rows:
        metadata = cast("dict[str, Json]", {key: value for key, value in row.metadata.items() if key != "file_name"})
        kept = KeptDocument(
            id=row.id,
            source=row.source,
            location=row.location,
            name=str(row.metadata.get("file_name") or row.source.rpartition("/")[2]),
            title=row.title,
            metadata=metadata,
            content_hash=str(row.original),
            pipeline_fingerprint=row.pipeline_fingerprint,
            revision=row.revision,  # no newer version: one that comes meanwhile takes precedence
        )
        yield FromDatabase(kept, documents, originals)


def _json(each: IncompleteDocument) -> dict[str, object]:
    return {"id": each.id, "source": each.source, "chunks": each.chunks, "found": each.found}
