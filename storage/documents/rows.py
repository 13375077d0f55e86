"""The rows of a document, of its attachments and of their chunks, within a writer's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.documents.readers import access_of
from storage.documents.versions import NewDocument
from storage.errors import WriteConflict
from storage.instants import with_utc

if TYPE_CHECKING:
    from storage.database import Connection
    from storage.documents.versions import NewAttachment, NewChunk
    from storage.generation import Generation

CHUNK_COLUMNS = (
    "tenant_id", "generation_id", "document_id", "node_id", "chunk_index", "page", "start_char", "end_char",
    "text", "metadata_", "embedding", "embedded_hash",
)  # fmt: skip


async def stored_row(connection: Connection, generation_id: int, document_id: str) -> NewDocument | None:
    """Return a document's row as it was written; None if there is none."""
    row = await connection.fetchrow(
        """SELECT id, source, location, title, metadata::text AS metadata, content_hash, pipeline_fingerprint,
               bytes AS size, revision, original, pages::text AS pages, repeated::text AS repeated,
               warnings::text AS warnings, parent
           FROM footnote.documents WHERE generation_id = $1 AND id = $2""",
        generation_id,
        document_id,
    )
    if row is None:
        return None
    parsed = {name: json.loads(row[name]) for name in ("metadata", "pages", "repeated", "warnings")}
    return NewDocument(**{**dict(row), **parsed})


class DocumentRows:
    """Writes rows of one generation; its caller holds the locks of the documents."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._table = chunk_tables.qualified(generation.id)

    async def _put(self, connection: Connection, document: NewDocument, chunks: Sequence[NewChunk]) -> None:
        """Write a document with its chunks in place of its stored version."""
        await connection.execute(f"DELETE FROM {self._table} WHERE document_id = $1", document.id)
        await self._upsert(connection, document, chunks=len(chunks))
        await connection.copy_records_to_table(
            self._table.split(".")[1],
            schema_name=self._table.split(".")[0],
            columns=CHUNK_COLUMNS,
            records=[self._record(document.id, chunk) for chunk in chunks],
        )

    async def _put_attachments(self, connection: Connection, parent: str, attachments: Sequence[NewAttachment]) -> None:
        """Write a document's attachments, and delete those that it has no more.

        Raises:
            WriteConflict: another document has the id of one of them.

        """
        ids = [each.document.id for each in attachments]
        await connection.execute(
            "DELETE FROM footnote.documents WHERE generation_id = $1 AND parent = $2 AND id <> ALL($3)",
            self._generation.id,
            parent,
            ids,
        )
        taken = await connection.fetchval(
            """SELECT id FROM footnote.documents
               WHERE generation_id = $1 AND id = ANY($2) AND parent IS DISTINCT FROM $3 LIMIT 1""",
            self._generation.id,
            ids,
            parent,
        )
        if taken is not None:
            msg = f"document {taken!r} has the id of an attachment of {parent!r}"
            raise WriteConflict(msg)
        for each in attachments:
            await self._put(connection, each.document, each.chunks)

    async def _upsert(self, connection: Connection, document: NewDocument, *, chunks: int) -> None:
        await connection.execute(
            """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, location, title, metadata,
                   content_hash, pipeline_fingerprint, bytes, chunks, revision, original, pages, repeated, warnings,
                   parent, access)
               SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::text,
                   coalesce($18::text[], (
                       SELECT p.access FROM footnote.documents p WHERE p.generation_id = $2 AND p.id = $17
                   ), (
                       SELECT o.access FROM footnote.documents o JOIN footnote.generations og ON og.id = o.generation_id
                       WHERE og.collection_id = g.collection_id AND o.id = $3
                       ORDER BY og.state <> 'active', og.id DESC LIMIT 1
                   ), ARRAY['+'] || c.readers)
               FROM footnote.generations g JOIN footnote.collections c ON c.id = g.collection_id WHERE g.id = $2
               ON CONFLICT (generation_id, id) DO UPDATE SET source = excluded.source, location = excluded.location,
                   title = excluded.title, metadata = excluded.metadata, content_hash = excluded.content_hash,
                   pipeline_fingerprint = excluded.pipeline_fingerprint, bytes = excluded.bytes,
                   chunks = excluded.chunks, revision = excluded.revision, original = excluded.original,
                   pages = excluded.pages, repeated = excluded.repeated, warnings = excluded.warnings,
                   access = CASE WHEN $18::text[] IS NULL AND $17::text IS NULL THEN documents.access
                       ELSE excluded.access END,
                   ingested_at = now()""",
            self._generation.tenant_id,
            self._generation.id,
            document.id,
            document.source,
            document.location,
            document.title,
            json.dumps(with_utc(document.metadata)),
            document.content_hash,
            document.pipeline_fingerprint,
            document.size,
            chunks,
            document.revision,
            document.original,
            json.dumps(document.pages),
            json.dumps(document.repeated),
            json.dumps(list(document.warnings)),
            document.parent,
            None if document.readers is None else access_of(document.readers),
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
