"""`--dry-run`: what an ingestion would do, found as the ingestion itself finds it, and nothing written."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.dry_run.manifest import Entry, Header
from ingestion.dry_run.plan import Plan
from ingestion.dry_run.sampling import Candidate, Sample, in_database, on_disk
from ingestion.identity import absolute, build_fingerprint, pipeline_fingerprint, source_of
from ingestion.inputs.local_files import LOOK_AHEAD, UNNAMABLE
from ingestion.inputs.selection import Listed
from ingestion.inputs.web_pages import ShownUrl, Visit, discard
from ingestion.names import reason_of
from ingestion.readers.process_pool import hash_file
from ingestion.retrying import RETRYING
from ingestion.runs.sync import PAGE, Sync, Tally
from ingestion.types import Skipped
from storage.documents.locations import LocatedDocument, LocatedDocuments
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import CollectionNotFound

if TYPE_CHECKING:
    from ingestion.dry_run.manifest import Action
    from ingestion.inputs.selection import Wanted
    from ingestion.inputs.web_pages import UrlDocuments
    from ingestion.pipeline.factory import Indexing
    from storage.documents.writes import DocumentState
    from storage.generation import Chunking, EmbeddingIdentity, Generation

MOST_PAGES = 24  # that were fetched and are kept to be looked at


class Planner:
    """Finds what would be done: new and changed files and pages first, then what is carried over, then what is gone."""

    def __init__(
        self,
        indexing: Indexing,
        wanted: Wanted,
        *,
        active: Generation | None,
        made: tuple[EmbeddingIdentity, Chunking],
        reindex: bool,
        sync: bool,
    ) -> None:
        self.plan = Plan(wanted.collection, active.name if active else None, reindex)
        self.sample = Sample()
        self.made = made
        self._wanted = wanted
        self.active = active
        self._sync = sync
        self._limit = indexing.settings.ingestion.max_file_bytes
        self._fingerprint = pipeline_fingerprint(*made, metadata=wanted.metadata)
        # the vectors of a text serve again where the model is the same and texts are cut at the same places
        self._serves = reindex and active is not None and _same_vectors(active, made)
        self._originals = Originals(indexing.database)
        self._documents = Documents(indexing.database, generation=active) if active else None
        self._located = LocatedDocuments(indexing.database, generation=active) if active else None
        self._places = (
            Sync(indexing.database, generation=active, wanted=wanted, settings=indexing.settings.ingestion)
            if active
            else None
        )
        self._met: set[bytes] = set()  # ids of documents that were met; in a plan that needs them
        self._pages = 0

    @property
    def header(self) -> Header:
        """What a manifest of this plan says first."""
        plan = self.plan
        return Header(
            footnote_manifest=1,
            collection=plan.collection,
            generation=plan.generation,
            mode="reindex" if plan.reindex else "ingest",
            sync=self._sync,
            settings=self._fingerprint,
        )

    async def entries(self, pages: UrlDocuments | None = None) -> AsyncIterator[Entry]:
        """Yield what would be done with each document, in an order that is the same each time."""
        listed = Listed(self._wanted)
        async for entry in self._files(listed):
            yield self._counted(entry)
        async for entry in self._web(pages):
            yield self._counted(entry)
        gone: set[bytes] = set()
        async for document in self._gone(listed, pages):
            gone.add(_key(document.id))
            yield self._counted(_entry("deleted", document))
        async for document in self._carried(gone):
            yield self._counted(_entry("carried", document))

    def _counted(self, entry: Entry) -> Entry:
        self.plan.count(entry)
        return entry

    async def _files(self, listed: Listed) -> AsyncIterator[Entry]:
        entries = iter(listed)
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(entries, LOOK_AHEAD))):
            found = await asyncio.to_thread(self._hashed, batch)
            states = await RETRYING(self._documents.states, list(found)) if self._documents else {}
            moved = await self._moved({source: each for source, each in found.items() if source not in states})
            for source, (path, content_hash, size) in found.items():
                state = states.get(source) or moved.get(source)
                action = self._action(state, content_hash, is_moved=source in moved)
                self._meet(state)
                if action is None:
                    self.plan.documents["unchanged"] += 1
                    continue
                self._offer(Candidate(path.name, size, on_disk(path)), action)
                yield Entry(action=action, source=source, content_hash=content_hash, bytes=size)

    def _action(
        self, state: DocumentState | LocatedDocument | None, content_hash: str, *, is_moved: bool
    ) -> Action | None:
        if state is None:
            return "added"
        if is_moved:
            return "moved"
        if state.content_hash != content_hash:
            return "changed"
        if self.plan.reindex:
            return "reindexed"
        return None if getattr(state, "pipeline_fingerprint", None) == self._fingerprint else "changed"

    def _hashed(self, batch: Sequence[Path | Skipped]) -> dict[str, tuple[Path, str, int]]:
        """Return the files that would be read, by source, with their hashes and sizes; take note of the others."""
        found = {}
        for entry in batch:
            if isinstance(entry, Skipped):
                self.plan.skip(entry)
                continue
            path = absolute(entry)
            source = source_of(path, base=absolute(self._wanted.base) if self._wanted.base else None)
            try:
                size = path.stat().st_size
                reason = f"larger than {self._limit} bytes, the limit set by FOOTNOTE_INGESTION__MAX_FILE_BYTES"
                if source is not None and size <= self._limit:
                    found[source] = (path, hash_file(path), size)
                    continue
                reason = UNNAMABLE if source is None else reason
            except OSError as exc:
                reason = reason_of(exc)
            self.plan.skip(Skipped(path, reason))
        return found

    async def _moved(self, found: Mapping[str, tuple[Path, str, int]]) -> dict[str, LocatedDocument]:
        """Return the documents that new files were before they were moved: the same bytes, and their own file gone."""
        moved: dict[str, LocatedDocument] = {}
        if not found or self._located is None or self._places is None:
            return moved
        twins: dict[str, list[LocatedDocument]] = {}
        for twin in await RETRYING(self._located.same_content, sorted({each[1] for each in found.values()})):
            if _key(twin.id) not in self._met and await asyncio.to_thread(self._places.places.is_gone, twin):
                twins.setdefault(twin.content_hash, []).append(twin)
        for source, (_, content_hash, _) in found.items():
            if left := twins.get(content_hash):
                moved[source] = left.pop(0)
                self._met.add(_key(moved[source].id))
        return moved

    async def _web(self, pages: UrlDocuments | None) -> AsyncIterator[Entry]:
        if pages is None:
            return
        async for visit in pages.visits():
            if visit.state == "new" or (visit.state == "unchanged" and self.plan.reindex):
                yield self._page(visit)
                continue
            discard(visit)
            self._meet(visit.stored)
            if visit.state == "unchanged":
                self.plan.documents["unchanged"] += 1
            elif visit.state != "gone" or not self._sync:
                kind = "failed" if visit.state == "failed" else "skipped"
                self.plan.skip(Skipped(ShownUrl(visit.url), visit.reason), kind=kind)

    def _page(self, visit: Visit) -> Entry:
        if visit.known is None:
            raise AssertionError
        action = self._action(visit.stored, visit.known.content_hash, is_moved=False) or "changed"
        self._meet(visit.stored)
        self._pages += visit.path is not None
        if visit.path is not None and self._pages <= MOST_PAGES:
            opened = on_disk(visit.path)
        else:
            discard(visit)
            opened = in_database(self._originals, content_hash=visit.known.content_hash, name=visit.known.file_name)
        self._offer(Candidate(visit.known.file_name, visit.size, opened), action)
        return Entry(action=action, source=visit.url, content_hash=visit.known.content_hash, bytes=visit.size)

    async def _gone(self, listed: Listed, pages: UrlDocuments | None) -> AsyncIterator[LocatedDocument]:
        if not self._sync or self._places is None or self._located is None:
            return
        tally = Tally(await RETRYING(self._located.count))
        async for document in self._places.gone(urls=pages.gone if pages else ()):
            if _key(document.id) not in self._met:
                tally.add(document, roots=self._places.places.roots(document))
                yield document
        self.plan.sync_refused = await asyncio.to_thread(self._places.refusal, tally, listed)

    async def _carried(self, gone: set[bytes]) -> AsyncIterator[LocatedDocument]:
        if not self.plan.reindex or self._located is None:
            return
        after = ""
        while page := await RETRYING(self._located.page, after=after, limit=PAGE):
            after = page[-1].id
            for document in page:
                if _key(document.id) in self._met or _key(document.id) in gone:
                    continue
                if document.original:
                    name = document.name or document.source
                    opened = in_database(self._originals, content_hash=document.original, name=name)
                    self._offer(Candidate(name, document.size, opened), "carried")
                yield document

    def _offer(self, candidate: Candidate, action: Action) -> None:
        same_text = action in {"reindexed", "carried", "moved"}
        embedded = not (same_text and (self._serves or not self.plan.reindex))
        self.sample.offer(
            Candidate(candidate.name, candidate.size, candidate.opened, embedded, is_change=action == "changed")
        )

    def _meet(self, state: DocumentState | LocatedDocument | None) -> None:
        if state is not None and self.plan.reindex:
            self._met.add(_key(state.id))


async def open_plan(indexing: Indexing, wanted: Wanted, *, reindex: bool, sync: bool) -> Planner:
    """Return what finds a plan.

    Raises:
        EmbeddingMismatch: the settings name another model than the one that the collection was built with.

    """
    made = await indexing.configured()
    try:
        active = await indexing.collections.active(wanted.collection)
    except CollectionNotFound:
        return Planner(indexing, wanted, active=None, made=made, reindex=False, sync=sync)
    if not reindex:
        active.require_embedding(made[0].fingerprint, model=made[0].model)
        made = (active.embedding, active.chunking)
    return Planner(indexing, wanted, active=active, made=made, reindex=reindex, sync=sync)


def _same_vectors(active: Generation, made: tuple[EmbeddingIdentity, Chunking]) -> bool:
    return build_fingerprint(active.embedding, active.chunking) == build_fingerprint(*made)


def _entry(action: Action, document: LocatedDocument) -> Entry:
    return Entry(action=action, source=document.source, content_hash=document.content_hash, bytes=document.size)


def _key(document_id: str) -> bytes:
    return blake2b(document_id.encode(), digest_size=12).digest()
