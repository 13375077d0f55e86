"""Documents of a generation: one transaction each, so that one is there whole, in one version, or not at all."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from storage import chunk_tables
from storage.deletions import bury, is_buried, lock_documents, lock_flips
from storage.errors import GenerationRetired, MissingKey, WriteConflict
from storage.generation import Generation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.database import Connection, Database

CHUNK_COLUMNS = (
    "tenant_id", "generation_id", "document_id", "node_id", "chunk_index", "page", "start_char", "end_char",
    "text", "metadata_", "embedding", "embedded_hash",
)  # fmt: skip


WRITABLE = frozenset({"building", "ready", "active"})  # states of a generation that takes documents
WriteOutcome = Literal["written", "unchanged", "deleted"]


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What is stored of a document, as far as a writer has to compare."""

    id: str
    source: str
    location: str | None
    content_hash: str
    pipeline_fingerprint: str

    def is_made_of(self, content_hash: str, pipeline_fingerprint: str) -> bool:
        """Tell whether bytes with this hash, made into chunks in this way, are what is stored."""
        return (self.content_hash, self.pipeline_fingerprint) == (content_hash, pipeline_fingerprint)


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to be written.

    Attributes:
        source: its name to people and its identity in the collection, 2,000 bytes at most.
        location: the absolute path it was read from, if it was a file.
        content_hash: SHA-256 of its bytes, in hex.
        pipeline_fingerprint: everything else that its chunks depend on.
        size: bytes.
        revision: from `Documents.next_revision`, before its source was read: of two versions, the higher is newer.
        original: hash under which `storage.documents.originals` keeps its bytes; None where it has none.

    """

    id: str
    source: str
    location: str | None
    title: str
    metadata: Mapping[str, object]
    content_hash: str
    pipeline_fingerprint: str
    size: int
    revision: int
    original: str | None = None


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be written.

    Attributes:
        metadata_json: what ``PGVectorStore`` keeps in ``metadata_``, made by `storage.vector_store.node_json`.
        embedding: shape (dimension,), float32.
        embedded_hash: of the text that was embedded, so that the vector can serve again.

    """

    node_id: str
    index: int
    page: int | None
    start: int
    end: int
    text: str
    metadata_json: str
    embedding: NDArray[np.float32]
    embedded_hash: UUID | None = None


class Documents:
    """The documents of one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation
        self._table = chunk_tables.qualified(generation.id)

    async def states(self, sources: Sequence[str]) -> dict[str, DocumentState]:
        """Return what is stored under these sources."""
        return {state.source: state for state in await self._states("source = ANY($2)", list(sources))}

    async def same_content(self, content_hashes: Sequence[str]) -> list[DocumentState]:
        """Return the documents that have any of these bytes, the oldest first."""
        return await self._states("content_hash = ANY($2)", list(content_hashes))

    async def by_ids(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        """Return what is stored under these ids."""
        return {state.id: state for state in await self._states("id = ANY($2)", list(ids))}

    async def next_revision(self) -> int:
        """Return what orders a version that is about to be read after all that were read before."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval("SELECT nextval('footnote.document_revisions')"))

    async def vectors(self, document_id: str) -> dict[UUID, NDArray[np.float32]]:
        """Return the stored vectors of a document by the hash of the text that was embedded."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT embedded_hash, embedding FROM {self._table} "
                "WHERE document_id = $1 AND embedded_hash IS NOT NULL",
                document_id,
            )
        return {row["embedded_hash"]: _float32(row["embedding"]) for row in rows}

    async def write(
        self,
        document: NewDocument,
        chunks: Sequence[NewChunk],
        *,
        replaces: DocumentState | None,
        displaces: DocumentState | None = None,
        first: Callable[[Connection], Awaitable[None]] | None = None,
        is_carried: bool = False,
    ) -> WriteOutcome:
        """Put the document in place of `replaces`, or of nothing, in one transaction.

        Readers see the old version until the commit and the new one after it. A version that was read before the
        document was deleted is not written: ``deleted``; nor is one that is older than what is stored: ``unchanged``.
        `displaces` is another document that has its source. `first` may refuse the transaction, by an error. One that
        `is_carried` comes from another generation, from where it would be gone had it been deleted.

        Raises:
            WriteConflict: what is stored is no longer `replaces`; read the document again.
            GenerationRetired: the generation takes no documents any more.

        """
        with _lost_original(document):
            return await self._write(
                document, chunks, replaces=replaces, displaces=displaces, first=first, is_carried=is_carried
            )

    async def _write(
        self,
        document: NewDocument,
        chunks: Sequence[NewChunk],
        *,
        replaces: DocumentState | None,
        displaces: DocumentState | None,
        first: Callable[[Connection], Awaitable[None]] | None,
        is_carried: bool,
    ) -> WriteOutcome:
        # a large document takes its time to enter the HNSW index; readers are not kept waiting
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            await self._hold(connection)
            old = [state for state in (replaces, displaces) if state]
            await lock_documents(
                connection,
                self._generation.collection_id,
                sources={document.source, *(state.source for state in old)},
                ids={document.id, *(state.id for state in old)},
            )
            if first is not None:
                await first(connection)
            stored, holder = await self._stored(connection, document)
            if await is_buried(
                connection,
                self._generation.collection_id,
                document_id=document.id,
                source=None if is_carried else document.source,
                revision=document.revision,
            ):
                return "deleted"
            if stored and not holder and _same_version(stored, document):
                await self._raise_revision(connection, document)
                return "unchanged"
            is_same = stored and (is_carried or not _is_other_file(stored, document, replaces=replaces))
            if is_same and await self._is_older(connection, document):
                return "unchanged"
            if (stored, holder) != (replaces, displaces):
                msg = f"{document.source!r} was changed by another writer"
                raise WriteConflict(msg)
            if holder:
                await self._drop(connection, holder.id)
            await connection.execute(f"DELETE FROM {self._table} WHERE document_id = $1", document.id)
            await self._upsert(connection, document, chunks=len(chunks))
            await connection.copy_records_to_table(
                self._table.split(".")[1],
                schema_name=self._table.split(".")[0],
                columns=CHUNK_COLUMNS,
                records=[self._record(document.id, chunk) for chunk in chunks],
            )
        return "written"

    async def delete(self, document_id: str) -> bool:
        """Delete a document from every generation of the collection; tell whether this one had it."""
        async with self._database.transaction() as connection:
            had = await bury(connection, self._generation.collection_id, document_id=document_id)
        return self._generation.id in had

    async def _hold(self, connection: Connection) -> None:
        """Keep the generation as it is until the transaction ends: a flip waits for it, and it for a flip."""
        await lock_flips(connection, self._generation.collection_id, shared=True)
        state = await connection.fetchval(
            "SELECT state FROM footnote.generations WHERE id = $1 FOR KEY SHARE", self._generation.id
        )
        if state not in WRITABLE:
            raise GenerationRetired(self._generation.collection, self._generation.name)

    async def _is_older(self, connection: Connection, document: NewDocument) -> bool:
        return bool(
            await connection.fetchval(
                "SELECT revision > $3 FROM footnote.documents WHERE generation_id = $1 AND id = $2",
                self._generation.id,
                document.id,
                document.revision,
            )
        )

    async def _raise_revision(self, connection: Connection, document: NewDocument) -> None:
        await connection.execute(
            "UPDATE footnote.documents SET revision = $3 WHERE generation_id = $1 AND id = $2 AND revision < $3",
            self._generation.id,
            document.id,
            document.revision,
        )

    async def _states(self, condition: str, value: object) -> list[DocumentState]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT id, source, location, content_hash, pipeline_fingerprint FROM footnote.documents "
                f"WHERE generation_id = $1 AND {condition} ORDER BY created_at, id",
                self._generation.id,
                value,
            )
        return [DocumentState(**dict(row)) for row in rows]

    async def _stored(
        self, connection: Connection, document: NewDocument
    ) -> tuple[DocumentState | None, DocumentState | None]:
        """Return what is stored under the document's id, and what else has its source."""
        rows = await connection.fetch(
            "SELECT id, source, location, content_hash, pipeline_fingerprint FROM footnote.documents "
            "WHERE generation_id = $1 AND (id = $2 OR source = $3) FOR UPDATE",
            self._generation.id,
            document.id,
            document.source,
        )
        states = {row["id"] == document.id: DocumentState(**dict(row)) for row in rows}
        return states.get(True), states.get(False)

    async def _drop(self, connection: Connection, document_id: str) -> None:
        await connection.execute(
            "DELETE FROM footnote.documents WHERE generation_id = $1 AND id = $2", self._generation.id, document_id
        )

    async def _upsert(self, connection: Connection, document: NewDocument, *, chunks: int) -> None:
        await connection.execute(
            """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, location, title, metadata,
                   content_hash, pipeline_fingerprint, bytes, chunks, revision, original)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
               ON CONFLICT (generation_id, id) DO UPDATE SET source = excluded.source, location = excluded.location,
                   title = excluded.title, metadata = excluded.metadata, content_hash = excluded.content_hash,
                   pipeline_fingerprint = excluded.pipeline_fingerprint, bytes = excluded.bytes,
                   chunks = excluded.chunks, revision = excluded.revision, original = excluded.original,
                   ingested_at = now()""",
            self._generation.tenant_id,
            self._generation.id,
            document.id,
            document.source,
            document.location,
            document.title,
            json.dumps(document.metadata),
            document.content_hash,
            document.pipeline_fingerprint,
            document.size,
            chunks,
            document.revision,
            document.original,
        )

    def _record(self, document_id: str, chunk: NewChunk) -> tuple[object, ...]:
        return (
            self._generation.tenant_id,
            self._generation.id,
            document_id,
            chunk.node_id,
            chunk.index,
            chunk.page,
            chunk.start,
            chunk.end,
            chunk.text,
            chunk.metadata_json,
            chunk.embedding,
            chunk.embedded_hash,
        )


@contextmanager
def _lost_original(document: NewDocument) -> Iterator[None]:
    """Turn the one key that may be missing, that of an original which was pruned meanwhile, into a conflict."""
    try:
        yield
    except MissingKey as exc:
        msg = f"the bytes of {document.source!r} are not kept"
        raise WriteConflict(msg) from exc


def _same_version(stored: DocumentState, document: NewDocument) -> bool:
    return (stored.id, stored.source, stored.content_hash, stored.pipeline_fingerprint) == (
        document.id,
        document.source,
        document.content_hash,
        document.pipeline_fingerprint,
    )


def _is_other_file(stored: DocumentState, document: NewDocument, *, replaces: DocumentState | None) -> bool:
    """Tell whether another file has become the document of this id since this one was read.

    Then this one is no older version of it, but a file that has to look for a document anew.
    """
    if stored.source == document.source:
        return False
    return replaces is None or None not in {stored.location, document.location}


def _float32(vector: NDArray[np.float32] | object) -> NDArray[np.float32]:
    import numpy as np

    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, dtype=np.float32)


async def next_revision(connection: Connection) -> int:
    """Do as `Documents.next_revision` does, inside a transaction of the caller's."""
    return int(await connection.fetchval("SELECT nextval('footnote.document_revisions')"))
