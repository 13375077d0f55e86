"""Small made-up documents and vectors for tests of storage."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import UUID, uuid5

import numpy as np

from storage.collections.collections import Collections
from storage.database import Database
from storage.documents.writes import Documents, NewChunk, NewDocument
from storage.generation import Chunking, EmbeddingIdentity, Generation
from storage.vector_store import make_node, node_json

DIMENSION = 16
IDENTITY = EmbeddingIdentity("made-up", "1", "fingerprint", DIMENSION, normalized=True)
CHUNKING = Chunking(tokens=256, overlap=32, language="english")
NAMESPACE = UUID(int=7)
LATEST = 2**40  # a revision newer than any that the database gives


def vector(text: str) -> np.ndarray:
    """Return a unit vector that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    made = np.random.default_rng(seed).normal(size=DIMENSION).astype("float32")
    return made / np.linalg.norm(made)


def document(
    name: str, *, content: str = "", metadata: dict[str, object] | None = None, revision: int = LATEST
) -> NewDocument:
    """Return a document's row."""
    return NewDocument(
        id=str(uuid5(NAMESPACE, name)),
        source=name,
        location=None,
        title=name,
        metadata=metadata or {},
        content_hash=hashlib.sha256((content or name).encode()).hexdigest(),
        pipeline_fingerprint="p",
        size=len(content),
        revision=revision,
    )


def chunks(of: NewDocument, *texts: str) -> list[NewChunk]:
    """Return a document's chunks."""
    made = []
    for index, text in enumerate(texts):
        node = make_node(
            str(uuid5(UUID(of.id), f"{index}{text}")),
            document_id=of.id,
            text=text,
            metadata={**of.metadata, "title": of.title, "source": of.source, "chunk_index": index},
            start=0,
            end=len(text),
        )
        made.append(
            NewChunk(
                node_id=node.node_id,
                index=index,
                page=None,
                start=0,
                end=len(text),
                text=text,
                metadata_json=node_json(node),
                embedding=vector(text),
                embedded_hash=uuid5(NAMESPACE, text),
            )
        )
    return made


async def make_collection(
    database: Database, name: str = "default", *, language: str = CHUNKING.language
) -> Generation:
    """Make a collection."""
    return await Collections(database).ensure(name, embedding=IDENTITY, chunking=replace(CHUNKING, language=language))


async def fill(
    database: Database, generation: Generation, texts: dict[str, tuple[str, dict[str, object]]]
) -> Documents:
    """Write documents of one chunk each: name to text and metadata."""
    documents = Documents(database, generation=generation)
    for name, (text, metadata) in texts.items():
        made = document(name, content=text, metadata=metadata)
        await documents.write(made, chunks(made, text), replaces=None)
    return documents
