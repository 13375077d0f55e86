"""Writing documents of a generation, each in one transaction, so that readers see one complete version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from storage import chunk_tables
from storage.conflicts import rerun_on_conflict
from storage.deletions import is_marked_deleted, lock_documents, lock_flips, mark_deleted
from storage.documents.rows import DocumentRows
from storage.documents.versions import DocumentState, NewAttachment, NewChunk, NewDocument
from storage.errors import DocumentAttached, GenerationRetired, MissingKey, SourceTaken, WriteConflict
from storage.generation import Generation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.database import Connection, Database

__all__ = ["DocumentState", "Documents", "NewAttachment", "NewChunk", "NewDocument", "WriteOutcome", "next_revision"]

WRITABLE = frozenset({"building", "ready", "active"})  # states of a generation in which documents can be written
WriteOutcome = Literal["written", "unchanged", "deleted"]


class Documents(DocumentRows):
    """The documents of one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        super().__init__(generation)
        self._database = database
        counted = f"({{0}}.chunks = (SELECT count(*) FROM {self._table} c WHERE c.document_id = {{0}}.id))"
        self._state = f"""id, source, location, content_hash, pipeline_fingerprint, parent,
            {counted.format("documents")} AND NOT EXISTS (SELECT FROM footnote.documents a WHERE
                a.generation_id = documents.generation_id AND a.parent = documents.id AND NOT {counted.format("a")})
            AS is_complete"""

    async def states(self, sources: Sequence[str]) -> dict[str, DocumentState]:
        """Return the documents with these sources, by source; no attachments."""
        found = await self._states("source = ANY($2) AND parent IS NULL", list(sources))
        return {state.source: state for state in found}

    async def same_content(self, content_hashes: Sequence[str]) -> list[DocumentState]:
        """Return the documents with any of these hashes, the oldest first; no attachments."""
        return await self._states("content_hash = ANY($2) AND parent IS NULL", list(content_hashes))

    async def by_ids(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        """Return the documents with these ids, by id."""
        return {state.id: state for state in await self._states("id = ANY($2)", list(ids))}

    async def next_revision(self) -> int:
        """Return a revision higher than all before, to be taken before a version is read."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval("SELECT nextval('footnote.document_revisions')"))

    async def vectors(self, document_id: str, *others: str) -> dict[UUID, NDArray[np.float32]]:
        """Return the stored vectors of documents by the hash of the embedded text."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT c.embedded_hash, c.embedding FROM {chunk_tables.readable(self._generation.id)} "
                "WHERE c.document_id = ANY($1) AND c.embedded_hash IS NOT NULL",
                [document_id, *others],
            )
        return {row["embedded_hash"]: _float32(row["embedding"]) for row in rows}

    @rerun_on_conflict
    async def write(
        self,
        document: NewDocument,
        chunks: Sequence[NewChunk],
        *,
        replaces: DocumentState | None,
        displaces: DocumentState | None = None,
        first: Callable[[Connection], Awaitable[None]] | None = None,
        is_carried: bool = False,
        attachments: Sequence[NewAttachment] | None = None,
    ) -> WriteOutcome:
        """Write the document in place of `replaces`, in one transaction.

        Readers see the old version until the commit. A version that was read before the document was deleted is not
        written (``deleted``), nor one that is older than the stored one (``unchanged``). `first` runs in the
        transaction before anything else is locked, and may abort it with an error. With `is_carried` the document is
        copied from another generation, which a deletion would have removed it from. Only such a copy may take the
        place of another document with the same source, `displaces`, which the other generation has in another state:
        in a generation that answers, one that is older than the copy. Its `attachments` are written with it and share
        its fate in all of this, and those that it has no more are deleted; with None they stay as they are.

        Raises:
            DocumentAttached: the stored document is an attachment of another one.
            WriteConflict: the stored document is not `replaces`, or another one has its source; read it again.
            SourceTaken: a newer document of the generation that answers has the source of a copy.
            GenerationRetired: the generation accepts no more documents.

        """
        with _lost_original(document):
            return await self._write(
                document,
                chunks,
                replaces=replaces,
                displaces=displaces,
                first=first,
                is_carried=is_carried,
                attachments=attachments,
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
        attachments: Sequence[NewAttachment] | None,
    ) -> WriteOutcome:
        # inserting a large document into the HNSW index takes long, but blocks no readers
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            if first is not None:
                await first(connection)
            state = await self._hold(connection)
            old = [state for state in (replaces, displaces) if state]
            await lock_documents(
                connection,
                self._generation.collection_id,
                sources={document.source, *(state.source for state in old)},
                ids={document.id, *(state.id for state in old), *(each.document.id for each in attachments or ())},
            )
            stored, holder = await self._stored(connection, document)
            if stored and stored.parent is not None:
                raise DocumentAttached(document.id, parent=stored.parent)
            if await is_marked_deleted(
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
            if (stored, holder) != (replaces, displaces if is_carried else None):
                msg = f"{document.source!r} was changed by another writer"
                raise WriteConflict(msg)
            if holder:
                await self._drop(connection, holder, document, answers=state == "active")
            await self._put(connection, document, chunks)
            if attachments is not None:
                await self._put_attachments(connection, document.id, attachments)
        return "written"

    @rerun_on_conflict
    async def delete(self, document_id: str) -> bool:
        """Delete a document from every generation of the collection; return whether this one had it.

        Raises:
            DocumentAttached: it is an attachment of another one.

        """
        async with self._database.transaction() as connection:
            had = await mark_deleted(connection, self._generation.collection_id, document_id=document_id)
        return self._generation.id in had

    async def _hold(self, connection: Connection) -> str:
        """Lock the generation's state against activations until the transaction ends; return it."""
        await lock_flips(connection, self._generation.collection_id, shared=True)
        state = await connection.fetchval(
            "SELECT state FROM footnote.generations WHERE id = $1 FOR KEY SHARE", self._generation.id
        )
        if state not in WRITABLE:
            raise GenerationRetired(self._generation.collection, self._generation.name)
        return str(state)

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
                f"""SELECT {self._state} FROM footnote.documents WHERE generation_id = $1 AND {condition}
                    ORDER BY created_at, id""",
                self._generation.id,
                value,
            )
        return [DocumentState(**dict(row)) for row in rows]

    async def _stored(
        self, connection: Connection, document: NewDocument
    ) -> tuple[DocumentState | None, DocumentState | None]:
        """Return the stored document with this id, and another one with this source."""
        rows = await connection.fetch(
            f"SELECT {self._state} FROM footnote.documents "
            "WHERE generation_id = $1 AND (id = $2 OR (source = $3 AND parent IS NULL)) FOR UPDATE",
            self._generation.id,
            document.id,
            document.source,
        )
        states = {row["id"] == document.id: DocumentState(**dict(row)) for row in rows}
        return states.get(True), states.get(False)

    async def _drop(
        self, connection: Connection, holder: DocumentState, document: NewDocument, *, answers: bool
    ) -> None:
        done = await connection.execute(
            "DELETE FROM footnote.documents WHERE generation_id = $1 AND id = $2 AND (revision < $3 OR NOT $4)",
            self._generation.id,
            holder.id,
            document.revision,
            answers,
        )
        if not int(done.split()[-1]):
            raise SourceTaken(document.source, holder=holder.id)


@contextmanager
def _lost_original(document: NewDocument) -> Iterator[None]:
    """Translate a missing foreign key, of an original pruned meanwhile, into a conflict."""
    try:
        yield
    except MissingKey as exc:
        msg = f"the bytes of {document.source!r} are not kept"
        raise WriteConflict(msg) from exc


def _same_version(stored: DocumentState, document: NewDocument) -> bool:
    is_same = (stored.id, stored.source) == (document.id, document.source)
    return is_same and stored.is_made_of(document.content_hash, document.pipeline_fingerprint)


def _is_other_file(stored: DocumentState, document: NewDocument, *, replaces: DocumentState | None) -> bool:
    """Tell whether the stored document is that of another file.

    This one is then not an older version of it, and has to find or create another document.
    """
    if stored.source == document.source:
        return False
    return replaces is None or None not in {stored.location, document.location}


def _float32(vector: NDArray[np.float32] | object) -> NDArray[np.float32]:
    import numpy as np

    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, dtype=np.float32)


async def next_revision(connection: Connection) -> int:
    """Like `Documents.next_revision`, in the caller's transaction."""
    return int(await connection.fetchval("SELECT nextval('footnote.document_revisions')"))
