"""Versions of documents: as they are stored, and as they are to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


CHANGED_BY_NODES = "added through LlamaIndex"
"""How the fingerprint ends of a document whose chunks are not those that its bytes give: nodes were added to it, or
deleted."""


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The stored fields of a document that a writer compares.

    Attributes:
        parent: id of the document that it is attached to; None for one that stands alone.
        is_complete: whether it and its attachments have as many chunks as were written; other programs may have
            deleted some.

    """

    id: str
    source: str
    location: str | None
    content_hash: str
    pipeline_fingerprint: str
    parent: str | None = None
    is_complete: bool = True

    def is_made_of(self, content_hash: str, pipeline_fingerprint: str) -> bool:
        """Tell whether the document was made from these bytes, with the same pipeline, and is all there."""
        is_same = (self.content_hash, self.pipeline_fingerprint) == (content_hash, pipeline_fingerprint)
        return is_same and self.is_complete


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to be written.

    Attributes:
        source: its identity in the collection, at most 2,000 bytes.
        location: the absolute path of its file, if it was one.
        content_hash: SHA-256 of its bytes, in hex.
        pipeline_fingerprint: hash of everything else that its chunks depend on.
        size: bytes.
        revision: from `Documents.next_revision`, taken before its source was read; a higher one is newer.
        original: hash under which `storage.documents.originals` keeps its bytes; None if it does not.
        pages: start offset and label of each page, in order; empty if it has none.
        repeated: start and end of what its text repeats, and its file does not.
        warnings: ``{"kind", "detail", "page"}`` each: what its text lacks, or may have wrong.
        parent: id of the document that it is attached to, with which it is written and deleted.
        readers: who may read it; None: whoever may read the version that is stored, else the document that it is
            attached to, else as the collection says.

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
    pages: Sequence[tuple[int, str]] = ()
    repeated: Sequence[tuple[int, int]] = ()
    warnings: Sequence[Mapping[str, object]] = ()
    parent: str | None = None
    readers: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be written.

    Attributes:
        metadata_json: for the column ``metadata_``, from `storage.vector_store.node_json`.
        embedding: shape (dimension,), float32.
        embedded_hash: of the embedded text, for reusing the vector.

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


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """An attachment to be written with the document that it is attached to."""

    document: NewDocument
    chunks: Sequence[NewChunk]
