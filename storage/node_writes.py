"""Writing LlamaIndex's nodes: grouped by their documents, each written whole, in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from storage import chunk_tables
from storage.documents.rows import stored_row
from storage.documents.sources import MAX_SOURCE_BYTES, normalized
from storage.documents.versions import CHANGED_BY_NODES
from storage.documents.writes import Documents, DocumentState, NewChunk, NewDocument
from storage.errors import NodeTaken, WriteConflict
from storage.nodes import document_of, new_chunk, with_source

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

    from storage.database import Database
    from storage.generation import Generation

MAX_CONFLICTS = 20
PAUSE = 0.02  # seconds, longer with each attempt


class NodeWrites:
    """Adds nodes to one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation
        self._documents = Documents(database, generation=generation)
        self._table = chunk_tables.qualified(generation.id)
        self._readable = chunk_tables.readable(generation.id)

    async def add(self, nodes: Sequence[BaseNode]) -> list[str]:
        """Add nodes, of those with the same id the last; return their ids. See `ChunkStore.async_add`.

        All are checked before the first is written.
        """
        chunks: dict[str, dict[str, NewChunk]] = defaultdict(dict)
        first: dict[str, Mapping[str, Any]] = {}
        for node in nodes:
            chunks[document_of(node)][node.node_id] = new_chunk(node, model=self._generation.embedding)
            first.setdefault(document_of(node), node.metadata)
        await self._require_own(chunks)
        for document_id, own in chunks.items():
            await self._added(document_id, own, first[document_id])
        return [node.node_id for node in nodes]

    async def _require_own(self, chunks: Mapping[str, Mapping[str, NewChunk]]) -> None:
        """Raise `NodeTaken` if a node's id is that of a chunk of another document."""
        documents: dict[str, str] = {}
        for document_id, own in chunks.items():
            for node_id in own:
                if documents.setdefault(node_id, document_id) != document_id:
                    raise NodeTaken(node_id, holder=documents[node_id])
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT node_id, document_id FROM {self._table} WHERE node_id = ANY($1)", list(documents)
            )
        for row in rows:
            if documents[row["node_id"]] != row["document_id"]:
                raise NodeTaken(row["node_id"], holder=row["document_id"])

    async def _added(self, document_id: str, own: Mapping[str, NewChunk], metadata: Mapping[str, Any]) -> None:
        for attempt in range(1, MAX_CONFLICTS):
            try:
                return await self._add_document(document_id, own, metadata)
            except WriteConflict:  # written by another writer meanwhile, or copied from another generation
                await asyncio.sleep(PAUSE * attempt * random.random())  # noqa: S311 (a pause, no secret)
        return await self._add_document(document_id, own, metadata)

    async def _add_document(self, document_id: str, own: Mapping[str, NewChunk], metadata: Mapping[str, Any]) -> None:
        revision = await self._documents.next_revision()
        stored = (await self._documents.by_ids([document_id])).get(document_id)
        source = stored.source if stored else await self._free_source(document_id, metadata)
        new = {node_id: with_source(chunk, source) for node_id, chunk in own.items()}
        kept = {chunk.node_id: chunk for chunk in await self._stored_chunks(document_id)}
        chunks = [replace(chunk, index=index) for index, chunk in enumerate({**kept, **new}.values())]
        row = await self._row(stored, document_id, metadata, source=source)
        digest = _digest(chunks)
        document = replace(
            row,
            content_hash=row.content_hash if row.original else digest,  # by which its bytes are kept
            pipeline_fingerprint=f"{digest}:{CHANGED_BY_NODES}",
            size=sum(len(chunk.text.encode()) for chunk in chunks),
            revision=revision,
        )
        outcome = await self._documents.write(document, chunks, replaces=stored)
        if outcome == "unchanged":
            await self._require_written(document)

    async def _require_written(self, document: NewDocument) -> None:
        """Raise `WriteConflict` unless this version is stored: a later writer may have read the one before it."""
        now = (await self._documents.by_ids([document.id])).get(document.id)
        if now is not None and not now.is_made_of(document.content_hash, document.pipeline_fingerprint):
            msg = f"{document.source!r} was changed by another writer"
            raise WriteConflict(msg)

    async def _row(
        self, stored: DocumentState | None, document_id: str, metadata: Mapping[str, Any], *, source: str
    ) -> NewDocument:
        """Return the document's row: what is stored of it stays."""
        title = str(metadata.get("title") or metadata.get("file_name") or document_id)
        async with self._database.connection() as connection:
            row = await stored_row(connection, self._generation.id, document_id) if stored else None
        if row is not None:
            return replace(row, title=row.title if row.original else title)
        return NewDocument(
            id=document_id,
            source=source,
            location=None,
            title=title,
            metadata={},
            content_hash="",
            pipeline_fingerprint="",
            size=0,
            revision=0,
        )

    async def _free_source(self, document_id: str, metadata: Mapping[str, Any]) -> str:
        """Return what names a new document; LlamaIndex gives all pages of a PDF one path."""
        named = normalized(str(metadata.get("source") or metadata.get("file_path") or document_id))
        wanted = [named, f"{document_id}/{named}", document_id, f"{document_id}/{uuid4()}"]
        fitting = [source for source in wanted if len(source.encode()) <= MAX_SOURCE_BYTES]
        taken = await self._documents.states(fitting)
        return next(source for source in fitting if source not in taken)

    async def _stored_chunks(self, document_id: str) -> list[NewChunk]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT c.node_id, c.chunk_index, c.page, c.start_char, c.end_char, c.text, c.metadata_, c.embedding,
                        c.embedded_hash
                    FROM {self._readable} WHERE c.document_id = $1 ORDER BY c.chunk_index""",
                document_id,
            )
        return [
            NewChunk(
                node_id=row["node_id"],
                index=row["chunk_index"],
                page=row["page"],
                start=row["start_char"],
                end=row["end_char"],
                text=row["text"],
                metadata_json=row["metadata_"],
                embedding=row["embedding"].to_numpy(),
                embedded_hash=row["embedded_hash"],
            )
            for row in rows
        ]


def _digest(chunks: Sequence[NewChunk]) -> str:
    """Return a hash of everything that is stored of a document's chunks, but of how PostgreSQL writes JSON."""
    digest = hashlib.sha256()
    for chunk in chunks:
        metadata = json.dumps(json.loads(chunk.metadata_json), sort_keys=True)
        digest.update(f"{chunk.node_id}\x00{chunk.text}\x00{metadata}".encode())
        digest.update(chunk.embedding.tobytes())
    return digest.hexdigest()
