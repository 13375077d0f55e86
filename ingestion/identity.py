"""Who a document is and whether it changed: deterministic ids and fingerprints."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from ingestion.types import Json
from storage.chunk_tables import RESERVED_KEYS
from storage.generation import Chunking, EmbeddingIdentity, Generation

if TYPE_CHECKING:
    from storage.documents.writes import Documents

READER_VERSION = 1  # raised when readers or splitting change what comes out of the same bytes
NAMESPACE = uuid5(NAMESPACE_URL, "urn:footnote:document")
MAX_SOURCE_BYTES = 2000
MAX_IDS = 100  # made of one source
OWN_KEYS = frozenset({*RESERVED_KEYS, "title", "source", "heading", "page", "chunk_index", "file_name"})


def absolute(path: Path) -> Path:
    """Return the path from the root, its links as they are: two folders' ``README.md`` are two documents."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links)


def source_of(path: Path, *, base: Path | None) -> str | None:
    """Return a file's name to people and its identity in a collection: relative to `base`, else absolute.

    None where it cannot be one: it is too long, or not a Unicode name.
    """
    shown = str(path)
    if base is not None and path.is_relative_to(base):
        shown = path.relative_to(base).as_posix()
    try:
        return shown if len(shown.encode()) <= MAX_SOURCE_BYTES else None
    except UnicodeEncodeError:
        return None


def document_id(source: str, *, generation: Generation, attempt: int = 0) -> str:
    """Return a document's id (UUIDv5 of tenant, collection and source); `attempt` counts ids that are taken."""
    name = "\n".join([generation.tenant_id, generation.collection, source, *([str(attempt)] if attempt else [])])
    return str(uuid5(NAMESPACE, name))


async def free_id(source: str, *, generation: Generation, stores: Sequence[Documents]) -> str:
    """Return an id for a new document: its source's own, or the next one that no document of `stores` has.

    A document that was moved keeps the id that was made of its first source.
    """
    for attempts in (range(1), range(1, MAX_IDS)):
        candidates = [document_id(source, generation=generation, attempt=attempt) for attempt in attempts]
        taken: set[str] = set()
        for store in stores:
            taken |= set(await store.by_ids(candidates))
        if free := [candidate for candidate in candidates if candidate not in taken]:
            return free[0]
    return str(uuid4())


def node_id(document: str, *, index: int, text: str) -> str:
    """Return a chunk's id; it changes with the text, so that it never points at other words."""
    return str(uuid5(_namespace(document), f"{index}\n{text}"))


def embedded_hash(text: str) -> UUID:
    """Return the key under which a vector serves again: SHA-256 of the embedded text, cut to 128 bits."""
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


def pipeline_fingerprint(embedding: EmbeddingIdentity, chunking: Chunking, *, metadata: Mapping[str, Json]) -> str:
    """Return hashes of what a document's chunks depend on besides its bytes: how they are made, and its metadata."""
    return f"{build_fingerprint(embedding, chunking)}:{_hash(dict(sorted(metadata.items())))}"


def carried_fingerprint(stored: str, generation: Generation) -> str:
    """Return a stored document's fingerprint as it is in another generation."""
    return f"{build_fingerprint(generation.embedding, generation.chunking)}:{stored.rpartition(':')[2]}"


def build_fingerprint(embedding: EmbeddingIdentity, chunking: Chunking) -> str:
    """Return a hash of how a generation's chunks are made."""
    return _hash([READER_VERSION, embedding.fingerprint, chunking.tokens, chunking.overlap, chunking.language])


def free_metadata(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out what a document says under keys that are Footnote's own: a citation's page is the page."""
    return {key: value for key, value in metadata.items() if key not in OWN_KEYS}


def _namespace(document: str) -> UUID:
    try:
        return UUID(document)
    except ValueError:  # an id that came through LlamaIndex may be any text
        return uuid5(NAMESPACE, document)


def _hash(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
