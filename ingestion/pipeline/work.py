"""A document on its way through the pipeline, with its attachments: together they are read, embedded and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from ingestion.identity import embedded_hash, node_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ingestion.incoming import Identified, Incoming
    from ingestion.pipeline.room import Growth
    from ingestion.pipeline.tracing import DocumentTrace
    from ingestion.types import Chunk, Parsed, ReadWarning
    from storage.documents.writes import NewChunk, NewDocument

PLACE = ("heading", "page", "page_end", "row", "row_end")  # of a chunk, in its metadata


@dataclass(frozen=True, slots=True)
class Part:
    """A document or one of its attachments: its row, its chunks, the texts that are embedded for them, their keys."""

    document: NewDocument
    chunks: Sequence[Chunk]
    texts: Sequence[str]
    hashes: Sequence[UUID]


@dataclass(slots=True)
class Work:
    """A document with its attachments.

    Attributes:
        warnings: of the document, and of its attachments with their names.
        parts: the document, then its attachments.
        vectors: by key; those that were stored already at first, then all.
        growth: the room that it takes of the tenant's; None: that is not limited.
        reused: chunks whose vector was stored already.

    """

    incoming: Incoming
    identified: Identified
    warnings: Sequence[ReadWarning]
    parts: Sequence[Part]
    vectors: dict[UUID, NDArray[np.float32]]
    trace: DocumentTrace
    growth: Growth | None = None
    reused: int = field(init=False)

    def __post_init__(self) -> None:
        self.reused = self.chunks - sum(key not in self.vectors for key in self.hashes)

    @property
    def hashes(self) -> list[UUID]:
        """The keys of all texts."""
        return [key for part in self.parts for key in part.hashes]

    @property
    def missing(self) -> dict[UUID, str]:
        """The texts that have no vector yet."""
        return {
            key: text
            for part in self.parts
            for key, text in zip(part.hashes, part.texts, strict=True)
            if key not in self.vectors
        }

    @property
    def chunks(self) -> int:
        """Number of chunks of all parts."""
        return sum(len(part.texts) for part in self.parts)

    @property
    def weight(self) -> int:
        """Weight in a queue, in chunks."""
        return self.chunks or 1


def part_of(document: NewDocument, parsed: Parsed) -> Part:
    """Return a document with what is to be embedded of it."""
    from ingestion.chunking.splitter import embed_text

    texts = [embed_text(parsed.title, chunk) for chunk in parsed.chunks]
    return Part(document, parsed.chunks, texts, [embedded_hash(text) for text in texts])


def rows_of(part: Part, vectors: dict[UUID, NDArray[np.float32]]) -> list[NewChunk]:
    """Return the chunks as they are stored."""
    document = part.document
    shared = {**document.metadata, "title": document.title, "source": document.source}
    return [_row(document, chunk, shared, key, vectors) for chunk, key in zip(part.chunks, part.hashes, strict=True)]


def _row(
    document: NewDocument,
    chunk: Chunk,
    shared: dict[str, object],
    key: UUID,
    vectors: dict[UUID, NDArray[np.float32]],
) -> NewChunk:
    from storage.documents.writes import NewChunk
    from storage.vector_store import make_node, node_json

    place = {name: getattr(chunk, name) for name in PLACE} | {"chunk_index": chunk.index}
    node = make_node(
        node_id(document.id, index=chunk.index, text=chunk.text),
        document_id=document.id,
        text=chunk.text,
        metadata={**shared, **chunk.metadata, **{name: value for name, value in place.items() if value is not None}},
        start=chunk.start,
        end=chunk.end,
    )
    return NewChunk(
        node_id=node.node_id,
        index=chunk.index,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        metadata_json=node_json(node),
        embedding=vectors[key],
        embedded_hash=key,
    )
