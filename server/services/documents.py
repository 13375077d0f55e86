"""Documents are uploaded, replaced and deleted here; workers read and index them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from ingestion.identity import free_id
from server.services.idempotency import require_valid_key
from server.uploads.received_file import ReceivedFile
from storage.caller import Caller, caller, current_tenant, in_whole_tenant
from storage.conflicts import rerun_on_conflict
from storage.documents.catalog import DocumentCatalog
from storage.documents.originals import Originals
from storage.documents.sources import normalized
from storage.documents.writes import Documents, next_revision
from storage.errors import CollectionNotFound, DocumentNotFound, SourceTaken
from storage.generation import DEFAULT_COLLECTION
from storage.jobs.jobs import JobStore, NewJob
from storage.jobs.payloads import DocumentVersion, IndexDocument, IndexUrl
from storage.jobs.rows import document_lock, lock_jobs, source_lock
from storage.reach import require_reachable

if TYPE_CHECKING:
    from config.settings import LimitSettings
    from server.limits.quotas import Quotas
    from server.services.collections import CollectionService
    from storage.database import Connection, Database
    from storage.generation import Generation

MAX_JOBS = 100


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page for a worker to fetch; `url` has been validated."""

    url: str


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A new or changed document, as a client uploads it.

    Attributes:
        document_id: None: the id of the document with this source, else an id derived from the source.
        source: None: the file's name, after the document's id where that is given; a page's URL.
        title: None: the document's own.
        readers: who may read it; None: as before, else as the collection says.
        must_exist: replaces a document that is stored or queued; the source stays unless another is given.
        key: the client's idempotency key.

    """

    content: ReceivedFile | WebPage
    collection: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    document_id: str | None = None
    source: str | None = None
    title: str | None = None
    readers: tuple[str, ...] | None = None
    must_exist: bool = False
    key: str | None = None
    request_id: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the request, for its idempotency key."""
        content = self.content
        what = [content.url] if isinstance(content, WebPage) else [content.content_hash, content.name]
        collection = None if self.collection == DEFAULT_COLLECTION else self.collection
        asked = [what, collection, dict(self.metadata), self.document_id, self.source, self.title, self.must_exist]
        asked += [] if self.readers is None else [list(self.readers)]
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


class DocumentService:
    """Accepts and deletes documents. Every method raises `FootnoteError`s only, apart from defects."""

    def __init__(self, database: Database, *, collections: CollectionService, quotas: Quotas | None = None) -> None:
        self._database = database
        self._quotas = quotas
        self._collections = collections
        self._catalog = DocumentCatalog(database)
        self._originals = Originals(database)
        self._jobs = JobStore(database)

    async def submit(self, new: NewVersion, /) -> Submitted:
        """Store a document's bytes and queue the job that indexes them, in one transaction.

        Until the job has succeeded, questions are answered from the version that was stored before.

        The source is the document's from here on: another one cannot get it before the job has failed.

        Raises:
            InvalidIdempotencyKey: it is too long, or not made of printable ASCII.
            IdempotencyKeyReused: it came with another request before.
            CollectionNotFound: there is no such collection; ``default`` is created with the first document.
            DocumentNotFound: the document must exist, and does not.
            SourceTaken: another document has its source, or a job will give it to one.
            DocumentAttached: it is an attachment of another document.
            RateLimited: the tenant has brought, or keeps, as much as it may.

        """
        require_reachable(new.collection)
        if new.key is not None:
            require_valid_key(new.key)
        known = await self._source_of(str(new.document_id), collection=new.collection) if new.must_exist else None
        generation = await self._generation(new.collection)
        source = normalized(new.source or known or _default_source(new))
        limits = await self._quotas.limits() if self._quotas else None
        return await self._submit(new, caller(), source=source, generation=generation, limits=limits)

    async def delete(self, document_id: str, /, *, collection: str) -> None:
        """Delete a document from every generation, and cancel the jobs that would index it again.

        Raises:
            DocumentNotFound: it is neither stored nor queued in that collection, or the caller may not read it.
            DocumentAttached: it is an attachment of another document.

        """
        require_reachable(collection)
        who = caller()
        if who is not None and not who.sees_all:
            await self._source_of(document_id, collection=collection)
        await self._delete(document_id, collection=collection)

    @rerun_on_conflict
    @in_whole_tenant  # whoever may read a document deletes it with everybody's jobs
    async def _delete(self, document_id: str, *, collection: str) -> None:
        async with self._database.transaction() as connection:
            cancelled = await self._jobs.cancel_of_document(connection, collection, document_id)
            had = await self._catalog.delete(connection, document_id, collection=collection)
            if not (had or cancelled):
                raise DocumentNotFound(document_id)

    async def content(self, document_id: str, /, *, collection: str) -> Content:
        """Return a document's original bytes.

        Raises:
            DocumentNotFound: there is no such document in that collection.
            OriginalNotFound: its bytes are not stored: Footnote did not add it.

        """
        info = await self._catalog.get(document_id, collection=collection)
        blocks = self._originals.blocks(info.content_hash)
        first = await anext(blocks, b"")  # raises before the response has begun
        name = str(info.metadata.get("file_name") or info.source.rpartition("/")[2])
        return Content(name, info.content_hash, _chained(first, blocks))

    @rerun_on_conflict
    @in_whole_tenant  # ids and sources are unique among all documents, and a document's jobs are everybody's
    async def _submit(
        self,
        new: NewVersion,
        who: Caller | None,
        *,
        source: str,
        generation: Generation,
        limits: LimitSettings | None,
    ) -> Submitted:
        # outside of the transaction, which has a connection already
        new_id = new.document_id or await free_id(
            source, generation=generation, stores=[Documents(self._database, generation=generation)]
        )
        async with self._database.transaction() as connection:
            submitted = await self._submit_within(connection, new, who, source=source, new_id=new_id)
            if limits is not None and self._quotas is not None and not submitted.is_replay:
                size = new.content.size if isinstance(new.content, ReceivedFile) else 0
                await self._quotas.charge(connection, limits, size=size)
            return submitted

    async def _submit_within(
        self, connection: Connection, new: NewVersion, who: Caller | None, *, source: str, new_id: str
    ) -> Submitted:
        content, collection = new.content, new.collection
        if isinstance(content, ReceivedFile):
            content.file.seek(0)  # it was read before, if the transaction is run again
            await self._originals.put_within(connection, content.file, content_hash=content.content_hash)
        await lock_jobs(connection, source_lock(current_tenant(), collection, source))
        holder = await self._holder(connection, new, source)
        document_id = new.document_id or holder or new_id
        # before the revision is taken: a deletion is either older than it, or sees this job and cancels it
        await lock_jobs(connection, document_lock(current_tenant(), collection, document_id))
        if not await self._is_replaceable(connection, document_id, who, collection=collection):
            raise DocumentNotFound(document_id) if new.document_id else SourceTaken(source, holder=None)
        await self._catalog.require_own(connection, document_id, collection=collection)
        revision = await next_revision(connection)
        job = await self._jobs.submit(
            connection,
            NewJob(
                payload=_payload(new, source=source, revision=revision),
                collection=collection,
                document_id=document_id,
                request_id=new.request_id,
                idempotency_key=new.key,
                idempotency_fingerprint=new.fingerprint if new.key is not None else None,
            ),
        )
        if DocumentVersion.of(job.arguments).revision != revision:
            return Submitted(job.document_id or document_id, job.id, is_replay=True)
        if holder not in {None, document_id}:
            is_known = await self._catalog.is_seen(connection, str(holder), who, collection=collection)
            raise SourceTaken(source, holder=str(holder) if is_known else None)
        return Submitted(document_id, job.id)

    async def _is_replaceable(
        self, connection: Connection, document_id: str, who: Caller | None, *, collection: str
    ) -> bool:
        """Tell whether a caller may read a document as it is, and as it will be by others' jobs."""
        return await self._catalog.is_readable(
            connection, document_id, who, collection=collection
        ) and not await self._jobs.hides_any(connection, who, collection=collection, document_id=document_id)

    async def _holder(self, connection: Connection, new: NewVersion, source: str) -> str | None:
        """Return the document that has a source, or that a job will give it to; the caller holds the source's lock."""
        # jobs first: one that has ended meanwhile has written its document before
        return await self._jobs.document_with_source(
            connection, new.collection, source, but=new.document_id
        ) or await self._catalog.with_source(connection, new.collection, source)

    async def _source_of(self, document_id: str, *, collection: str) -> str:
        """Return the source of a document that is stored or queued.

        Raises:
            DocumentNotFound: it is neither, for the caller.

        """
        try:
            return (await self._catalog.get(document_id, collection=collection)).source
        except DocumentNotFound:
            jobs = await self._jobs.list(limit=MAX_JOBS, document_id=document_id, collection=collection)
            for job in jobs.items:
                if not job.has_ended:
                    return DocumentVersion.of(job.arguments).source
            raise

    async def _generation(self, collection: str) -> Generation:
        try:
            return await self._collections.active(collection)
        except CollectionNotFound:
            if collection != DEFAULT_COLLECTION:
                raise
        return await self._collections.ensure(collection)


def _payload(new: NewVersion, *, source: str, revision: int) -> DocumentVersion:
    content, metadata = new.content, dict(new.metadata)
    if isinstance(content, WebPage):
        return IndexUrl(
            source=source,
            revision=revision,
            title=new.title,
            metadata=metadata,
            readers=new.readers,
            url=content.url,
        )
    return IndexDocument(
        source=source,
        revision=revision,
        title=new.title,
        metadata=metadata,
        readers=new.readers,
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
