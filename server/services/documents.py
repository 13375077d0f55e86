"""Documents are uploaded, replaced and deleted here; workers read and index them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from ingestion.identity import free_id
from server.errors import SourceTaken
from server.services.idempotency import require_valid_key
from server.uploads.received_file import ReceivedFile
from storage.conflicts import rerun_on_conflict
from storage.deletions import mark_deleted
from storage.documents.catalog import DocumentCatalog
from storage.documents.originals import Originals
from storage.documents.writes import Documents, next_revision
from storage.errors import CollectionNotFound, DocumentNotFound
from storage.generation import DEFAULT_COLLECTION, DEFAULT_TENANT
from storage.jobs.jobs import Job, JobStore, NewJob
from storage.jobs.payloads import DocumentVersion, IndexDocument, IndexUrl
from storage.jobs.rows import document_lock, lock_jobs

if TYPE_CHECKING:
    from server.services.collections import CollectionService
    from storage.database import Connection, Database
    from storage.generation import Generation

MAX_JOBS = 100
UNENDED = ("queued", "running")


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page for a worker to fetch; `url` has been validated."""

    url: str


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A new or changed document, as a client uploads it.

    Attributes:
        collection: None: the collection that has the document; for a new document ``default``.
        document_id: None: the id of the document with this source, else an id derived from the source.
        source: None: the file's name, after the document's id where that is given; a page's URL.
        title: None: the document's own.
        must_exist: replaces a document that is stored or queued; the source stays unless another is given.
        key: the client's idempotency key.

    """

    content: ReceivedFile | WebPage
    collection: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    document_id: str | None = None
    source: str | None = None
    title: str | None = None
    must_exist: bool = False
    key: str | None = None
    request_id: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the request, for its idempotency key."""
        content = self.content
        what = [content.url] if isinstance(content, WebPage) else [content.content_hash, content.name]
        asked = [what, self.collection, dict(self.metadata), self.document_id, self.source, self.title, self.must_exist]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job that indexes a document; `is_replay`: an earlier request with the same key submitted it."""

    document_id: str
    job_id: UUID
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A document's original bytes."""

    name: str
    content_hash: str
    blocks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class _Known:
    """Where a document is stored or queued already."""

    collection: str
    source: str


class DocumentService:
    """Accepts and deletes documents. Every method raises `FootnoteError`s only, apart from defects."""

    def __init__(self, database: Database, *, collections: CollectionService) -> None:
        self._database = database
        self._collections = collections
        self._catalog = DocumentCatalog(database)
        self._originals = Originals(database)
        self._jobs = JobStore(database)

    async def submit(self, new: NewVersion, /) -> Submitted:
        """Store a document's bytes and queue the job that indexes them, in one transaction.

        Until the job has succeeded, questions are answered from the version that was stored before.

        Raises:
            InvalidIdempotencyKey: it is too long, or not made of printable ASCII.
            IdempotencyKeyReused: it came with another request before.
            CollectionNotFound: there is no such collection; ``default`` is created with the first document.
            DocumentNotFound: the document must exist, and does not.
            SourceTaken: another document has its source.

        """
        if new.key is not None:
            require_valid_key(new.key)
        known = await self._known(new) if new.document_id is not None else None
        if new.must_exist and known is None:
            raise DocumentNotFound(new.document_id or "")
        generation = await self._generation((known and known.collection) or new.collection or DEFAULT_COLLECTION)
        document_id, source = await self._identity(new, known, generation)
        return await self._submit(new, document_id=document_id, source=source, generation=generation)

    @rerun_on_conflict
    async def delete(self, document_id: str, /, *, collection: str | None) -> None:
        """Delete a document from every generation, and cancel the jobs that would index it again.

        Raises:
            DocumentNotFound: it is neither stored nor queued (in that collection).

        """
        places = await self._collections_of(document_id, collection)
        async with self._database.transaction() as connection:
            cancelled = [name for name in places if await self._jobs.cancel_of_document(connection, name, document_id)]
            try:
                had = await self._catalog.delete(connection, document_id, collection=collection)
            except DocumentNotFound:
                if not cancelled:
                    raise
                had = []
            for name in cancelled:
                if name not in had and (generation := places[name]) is not None:
                    await mark_deleted(connection, generation.collection_id, document_id=document_id)

    async def content(self, document_id: str, /, *, collection: str | None) -> Content:
        """Return a document's original bytes.

        Raises:
            DocumentNotFound: there is no such document (in that collection).
            OriginalNotFound: its bytes are not stored: Footnote did not add it.

        """
        info = await self._catalog.get(document_id, collection=collection)
        blocks = self._originals.blocks(info.content_hash)
        first = await anext(blocks, b"")  # raises before the response has begun
        name = str(info.metadata.get("file_name") or info.source.rpartition("/")[2])
        return Content(name, info.content_hash, _chained(first, blocks))

    @rerun_on_conflict
    async def _submit(self, new: NewVersion, *, document_id: str, source: str, generation: Generation) -> Submitted:
        async with self._database.transaction() as connection:
            return await self._submit_within(
                connection, new, document_id=document_id, source=source, generation=generation
            )

    async def _submit_within(
        self, connection: Connection, new: NewVersion, *, document_id: str, source: str, generation: Generation
    ) -> Submitted:
        content = new.content
        if isinstance(content, ReceivedFile):
            content.file.seek(0)  # it was read before, if the transaction is run again
            await self._originals.put_within(connection, content.file, content_hash=content.content_hash)
        # before the revision is taken: a deletion is either older than it, or sees this job and cancels it
        await lock_jobs(connection, document_lock(DEFAULT_TENANT, generation.collection, document_id))
        revision = await next_revision(connection)
        job = await self._jobs.submit(
            connection,
            NewJob(
                payload=_payload(new, source=source, revision=revision),
                collection=generation.collection,
                document_id=document_id,
                request_id=new.request_id,
                idempotency_key=new.key,
                idempotency_fingerprint=new.fingerprint if new.key is not None else None,
            ),
        )
        is_replay = DocumentVersion.of(job.arguments).revision != revision
        return Submitted(job.document_id or document_id, job.id, is_replay=is_replay)

    async def _known(self, new: NewVersion) -> _Known | None:
        """Find a document by its id; if no collection is named and it may be new, look in the default one only."""
        document_id = str(new.document_id)
        collection = new.collection or (None if new.must_exist else DEFAULT_COLLECTION)
        try:
            info = await self._catalog.get(document_id, collection=collection)
        except DocumentNotFound:
            jobs = await self._jobs_of(document_id, collection, statuses=UNENDED)
            return next((_Known(job.collection, DocumentVersion.of(job.arguments).source) for job in jobs), None)
        return _Known(info.collection, info.source)

    async def _generation(self, collection: str) -> Generation:
        try:
            return await self._collections.active(collection)
        except CollectionNotFound:
            if collection != DEFAULT_COLLECTION:
                raise
        return await self._collections.ensure(collection)

    async def _identity(self, new: NewVersion, known: _Known | None, generation: Generation) -> tuple[str, str]:
        """Return a document's id and source."""
        documents = Documents(self._database, generation=generation)
        source = new.source or (known.source if known and new.must_exist else None) or _default_source(new)
        holder = (await documents.states([source])).get(source)
        if new.document_id is None:
            new_id = holder.id if holder else await free_id(source, generation=generation, stores=[documents])
            return new_id, source
        if holder is not None and holder.id != new.document_id:
            raise SourceTaken(source, holder=holder.id)
        return new.document_id, source

    async def _collections_of(self, document_id: str, collection: str | None) -> dict[str, Generation | None]:
        """Return the collections in which a document is stored or queued, in the order in which they are locked."""
        jobs = await self._jobs_of(document_id, collection, statuses=(*UNENDED, "failed"))
        names = {job.collection for job in jobs} | ({collection} if collection else set())
        with suppress(DocumentNotFound):
            names.add((await self._catalog.get(document_id, collection=collection)).collection)
        found: dict[str, Generation | None] = {}
        for name in sorted(names):
            try:
                found[name] = await self._collections.active(name)
            except CollectionNotFound:
                found[name] = None
        return found

    async def _jobs_of(self, document_id: str, collection: str | None, *, statuses: Sequence[str]) -> list[Job]:
        page = await self._jobs.list(limit=MAX_JOBS, document_id=document_id, collection=collection)
        return [job for job in page.items if job.status in statuses]


def _payload(new: NewVersion, *, source: str, revision: int) -> DocumentVersion:
    content, metadata = new.content, dict(new.metadata)
    if isinstance(content, WebPage):
        return IndexUrl(source=source, revision=revision, title=new.title, metadata=metadata, url=content.url)
    return IndexDocument(
        source=source,
        revision=revision,
        title=new.title,
        metadata=metadata,
        content_hash=content.content_hash,
        name=content.name,
    )


def _default_source(new: NewVersion) -> str:
    if isinstance(new.content, WebPage):
        return new.content.url
    # two documents may have files of one name, and sources are unique
    return new.content.name if new.document_id is None else f"{new.document_id}/{new.content.name}"


async def _chained(first: bytes, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in blocks:
        yield block
