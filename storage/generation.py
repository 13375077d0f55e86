"""A generation of a collection, its embedding model and its chunking."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from storage.errors import EmbeddingMismatch

if TYPE_CHECKING:
    import asyncpg


DEFAULT_COLLECTION = "default"
"""The one that is asked, or written to, where none is named."""

DEFAULT_TENANT = "public"
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"
COLUMNS = """g.id, c.tenant_id, c.name, g.number, g.state, c.id AS collection_id, g.language, g.embedding_model,
    g.embedding_revision, g.embedding_fingerprint, g.embedding_options::text, g.dimension, g.normalized,
    g.chunk_tokens, g.chunk_overlap, c.created_at"""
ACTIVE = "footnote.collections c JOIN footnote.generations g ON g.collection_id = c.id AND g.state = 'active'"
GenerationState = Literal["building", "ready", "active", "retired", "failed", "dropped"]


@dataclass(frozen=True, slots=True)
class EmbeddingIdentity:
    """Identity of an embedding model: models with equal fingerprints give the same vectors.

    Attributes:
        options: settings needed, with model and revision, to open it again; None if they were not kept.

    """

    model: str
    revision: str
    fingerprint: str
    dimension: int
    normalized: bool
    options: Mapping[str, str | None] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are split, in tokens of the embedding model, and the language of their text search."""

    tokens: int
    overlap: int
    language: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of a collection; a request is pinned to one from retrieval to the last token."""

    id: int
    tenant_id: str
    collection: str
    collection_id: int
    number: int
    state: GenerationState
    embedding: EmbeddingIdentity
    chunking: Chunking

    @property
    def name(self) -> str:
        """The generation as clients see it."""
        return str(self.number)

    def require_embedding(self, fingerprints: Container[str], *, model: str) -> None:
        """Raise `EmbeddingMismatch`, which says what to do, unless the collection was built with one of these."""
        if self.embedding.fingerprint in fingerprints:
            return
        built = self.embedding
        msg = (
            f"collection {self.collection!r} was built with {built.model} (revision {built.revision}, "
            f"{built.dimension} dimensions, normalized: {built.normalized}), but {model} is configured; "
            "set FOOTNOTE_EMBEDDING__MODEL, __REVISION, __NORMALIZE and the rest as they were, "
            "or build a new generation with --reindex"
        )
        raise EmbeddingMismatch(msg)


def generation_of(row: asyncpg.Record) -> Generation:
    """Convert a row of `COLUMNS`."""
    return Generation(
        id=row["id"],
        tenant_id=row["tenant_id"],
        collection=row["name"],
        collection_id=row["collection_id"],
        number=row["number"],
        state=row["state"],
        embedding=EmbeddingIdentity(
            model=row["embedding_model"],
            revision=row["embedding_revision"],
            fingerprint=row["embedding_fingerprint"],
            dimension=row["dimension"],
            normalized=row["normalized"],
            options=None if row["embedding_options"] is None else json.loads(row["embedding_options"]),
        ),
        chunking=Chunking(tokens=row["chunk_tokens"], overlap=row["chunk_overlap"], language=row["language"]),
    )
