"""`--dry-run`: plans a run by the same rules as the run itself, and writes nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ingestion.dry_run.manifest import Entry, Header
from ingestion.dry_run.plan import Plan
from ingestion.dry_run.sampling import Candidate, Sample, in_database, on_disk
from ingestion.errors import Unreadable
from ingestion.identity import build_fingerprint
from ingestion.incoming import change_of
from ingestion.inputs.destination import Destination
from ingestion.inputs.inputs import Listed
from ingestion.inputs.local_files import LOOK_AHEAD
from ingestion.inputs.matching import Matching
from ingestion.inputs.web_pages import Visit, discard
from ingestion.names import reason_of
from ingestion.retrying import RETRYING
from ingestion.runs.sync import PAGE, Sync, Tally
from ingestion.types import Skipped
from storage.documents.locations import LocatedDocument, LocatedDocuments
from storage.documents.originals import Originals
from storage.errors import CollectionNotFound

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from ingestion.dry_run.manifest import Action
    from ingestion.incoming import Change
    from ingestion.inputs.inputs import Inputs
    from ingestion.inputs.matching import Digest
    from ingestion.inputs.web_pages import UrlDocuments
    from ingestion.pipeline.factory import Indexing
    from storage.documents.writes import DocumentState
    from storage.generation import Chunking, EmbeddingIdentity, Generation

MAX_PAGES = 24  # fetched pages that are kept for the sample


class Planner:
    """Plans new and changed files and pages first, then deletions, then documents that are carried over."""

    def __init__(
        self,
        indexing: Indexing,
        inputs: Inputs,
        *,
        active: Generation | None,
        made: tuple[EmbeddingIdentity, Chunking],
        reindex: bool,
        sync: bool,
    ) -> None:
        self.plan = Plan(inputs.collection, active.name if active else None, reindex)
        self.sample = Sample()
        self.made = made
        self._inputs = inputs
        self.active = active
        self._sync = sync
        destination = Destination(*made, active, indexing.settings.ingestion)
        self._fingerprint = destination.fingerprint(inputs.metadata)
        self._matching = Matching(
            indexing.database,
            destination=destination,
            base=inputs.base,
            named=inputs.files,
            metadata=inputs.metadata,
        )
        # with the same model and chunking all vectors can be reused
        self._serves = reindex and active is not None and _same_vectors(active, made, indexing.settings.ingestion)
        self._originals = Originals(indexing.database)
        self._located = LocatedDocuments(indexing.database, generation=active) if active else None
        self._syncing = (
            Sync(indexing.database, generation=active, inputs=inputs, settings=indexing.settings.ingestion)
            if active
            else None
        )
        self._claimed = _Ids()  # ids given to moved files
        self._met = _Ids()  # ids that a new generation gets from files and pages
        self._pages = 0

    @property
    def header(self) -> Header:
        """The header of this plan's manifest."""
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
        """Yield the action for each document, always in the same order."""
        listed = Listed(self._inputs)
        async for entry in self._files(listed):
            yield self._counted(entry)
        async for entry in self._web(pages):
            yield self._counted(entry)
        gone = _Ids()
        async for document in self._gone(listed, pages):
            gone.add(document.id)
            yield self._counted(_entry("deleted", document))
        async for document in self._carried(gone):
            yield self._counted(_entry("carried", document))

    def _counted(self, entry: Entry) -> Entry:
        self.plan.count(entry)
        return entry

    async def _files(self, listed: Listed) -> AsyncIterator[Entry]:
        entries = iter(listed)
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(entries, LOOK_AHEAD))):
            files = await asyncio.to_thread(self._readable, batch)
            hashes = {source: digest.content_hash for source, (_, digest) in files.items()}
            matches = await self._matching.match(hashes, claimed=self._claimed)
            for source, (path, digest) in files.items():
                match = matches[source]
                if match.change == "moved" and match.known:
                    self._claimed.add(match.known.id)
                is_stored = self._matching.is_stored(digest, match.replaces)
                action = self._action(match.change, match.replaces, digest.content_hash, is_stored=is_stored)
                self._meet(match.replaces)
                if action is None:
                    self.plan.documents["unchanged"] += 1
                    continue
                self._offer(Candidate(path.name, digest.size, on_disk(path)), action)
                yield Entry(action=action, source=source, content_hash=digest.content_hash, bytes=digest.size)

    def _readable(self, batch: Sequence[Path | Skipped]) -> dict[str, tuple[Path, Digest]]:
        """Return the files that would be read, by source; count the others."""
        paths, skipped = self._matching.named(batch)
        found = {}
        for source, path in paths.items():
            try:
                found[source] = (path, self._matching.digest(path))
            except Unreadable as exc:
                skipped.append(Skipped(path, str(exc)))
            except OSError as exc:
                skipped.append(Skipped(path, reason_of(exc)))
        for entry in skipped:
            self.plan.skip(str(entry.path), entry.reason, kind="ignored" if entry.expected else "skipped")
        return found

    def _action(
        self, change: Change, state: DocumentState | None, content_hash: str, *, is_stored: bool
    ) -> Action | None:
        if self.plan.reindex and change == "changed" and state and state.content_hash == content_hash:
            return "reindexed"
        return None if is_stored and change == "changed" else change

    async def _web(self, pages: UrlDocuments | None) -> AsyncIterator[Entry]:
        if pages is None:
            return
        async for visit in pages.visits():
            if visit.state == "new" or (visit.state == "unchanged" and self.plan.reindex):
                yield self._page(visit)
                continue
            discard(visit)
            if visit.state == "unchanged":
                self.plan.documents["unchanged"] += 1
            elif visit.state != "gone" or not self._sync:
                kind: Literal["failed", "skipped"] = "failed" if visit.state == "failed" else "skipped"
                self.plan.skip(visit.url, visit.reason, kind=kind)

    def _page(self, visit: Visit) -> Entry:
        if visit.known is None:
            raise AssertionError
        change = change_of(visit.stored, source=visit.url)
        action = self._action(change, visit.stored, visit.known.content_hash, is_stored=False) or change
        self._meet(visit.stored)
        self._pages += visit.path is not None
        if visit.path is not None and self._pages <= MAX_PAGES:
            opened = on_disk(visit.path)
        else:
            discard(visit)
            opened = in_database(self._originals, content_hash=visit.known.content_hash, name=visit.known.file_name)
        self._offer(Candidate(visit.known.file_name, visit.size, opened), action)
        return Entry(action=action, source=visit.url, content_hash=visit.known.content_hash, bytes=visit.size)

    async def _gone(self, listed: Listed, pages: UrlDocuments | None) -> AsyncIterator[LocatedDocument]:
        if not self._sync or self._syncing is None or self._located is None:
            return
        # a run compares with the number after it has written
        tally = Tally(await RETRYING(self._located.count) + self.plan.documents["added"])
        async for document in self._syncing.gone(urls=pages.gone if pages else ()):
            if document.id not in self._claimed:
                await asyncio.to_thread(self._syncing.tell, tally, document)
                yield document
        self.plan.sync_refused = await asyncio.to_thread(self._syncing.refusal, tally, listed)

    async def _carried(self, gone: _Ids) -> AsyncIterator[LocatedDocument]:
        if not self.plan.reindex or self._located is None:
            return
        after = ""
        while page := await RETRYING(self._located.page, after=after, limit=PAGE):
            after = page[-1].id
            for document in page:
                if document.id in self._met or document.id in gone:
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

    def _meet(self, state: DocumentState | None) -> None:
        if state is not None and self.plan.reindex:
            self._met.add(state.id)


async def open_plan(indexing: Indexing, inputs: Inputs, *, reindex: bool, sync: bool) -> Planner:
    """Return a planner for a collection, which may be new.

    Raises:
        EmbeddingMismatch: the settings name another model than the collection's.

    """
    try:
        active = await indexing.collections.active(inputs.collection)
    except CollectionNotFound:
        made = await indexing.configured()
        return Planner(indexing, inputs, active=None, made=made, reindex=False, sync=sync)
    if reindex:
        made = await indexing.configured_for(active)
    else:
        await indexing.embedders.require_writable(active, name=indexing.embedding)
        made = (active.embedding, active.chunking)
    return Planner(indexing, inputs, active=active, made=made, reindex=reindex, sync=sync)


def _same_vectors(active: Generation, made: tuple[EmbeddingIdentity, Chunking], settings: IngestionSettings) -> bool:
    return build_fingerprint(active.embedding, active.chunking, settings) == build_fingerprint(*made, settings)


def _entry(action: Action, document: LocatedDocument) -> Entry:
    return Entry(action=action, source=document.source, content_hash=document.content_hash, bytes=document.size)


class _Ids:
    """A memory-saving set of document ids."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    def add(self, document_id: str) -> None:
        self._keys.add(_key(document_id))

    def __contains__(self, document_id: object) -> bool:
        return isinstance(document_id, str) and _key(document_id) in self._keys


def _key(document_id: str) -> bytes:
    return blake2b(document_id.encode(), digest_size=12).digest()
