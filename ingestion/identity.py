"""Deterministic ids of documents and chunks, and fingerprints that tell whether they changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from ingestion.read_options import read_options, unusual
from ingestion.types import Json
from storage.chunk_tables import RESERVED_KEYS
from storage.documents.sources import MAX_SOURCE_BYTES, normalized
from storage.generation import Chunking, EmbeddingIdentity, Generation

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from storage.documents.writes import Documents

READER_VERSION = 6
"""Increment it whenever readers or splitter give something else for the same bytes (text, chunks or metadata): stored
documents are read anew then, and keep what the old reader gave otherwise."""

NAMESPACE = uuid5(NAMESPACE_URL, "urn:footnote:document")
MAX_IDS = 100  # derived from one source
OWN_KEYS = frozenset(RESERVED_KEYS) | {
    *("title", "source", "heading", "page", "page_end", "chunk_index", "file_name", "attached_to", "readers")
}
MAX_LABEL_BYTES = 800


def absolute(path: Path) -> Path:
    """Return the absolute path without resolving symbolic links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links)


def source_of(path: Path, *, base: Path | None) -> str | None:
    """Return a file's source, its identity in a collection: the path relative to `base`, else absolute; as NFC.

    None if it is too long or not valid Unicode.
    """
    shown = str(path)
    if base is not None and path.is_relative_to(base):
        shown = path.relative_to(base).as_posix()
    shown = normalized(shown)
    try:
        return shown if len(shown.encode()) <= MAX_SOURCE_BYTES else None
    except UnicodeEncodeError:
        return None


def document_id(source: str, *, generation: Generation, attempt: int = 0) -> str:
    """Return a document's id (UUIDv5 of tenant, collection and source); `attempt` counts up while ids are taken."""
    name = "\n".join([generation.tenant_id, generation.collection, source, *([str(attempt)] if attempt else [])])
    return str(uuid5(NAMESPACE, name))


def attachment_id(mail: str, label: str, *, attempt: int = 0) -> str:
    """Return the id of an attachment, which its mail's id and its name in it give; `attempt` counts up as before."""
    return str(uuid5(_namespace(mail), "\n".join(["attachment", label, *([str(attempt)] if attempt else [])])))


def attachment_source(mail: str, label: str) -> str:
    """Return the source of an attachment: ``inbox/offer.eml#prices.pdf``; what is too long is cut at its beginning."""
    shown = label.encode()[-MAX_LABEL_BYTES:].decode("utf-8", "ignore")
    room = MAX_SOURCE_BYTES - len(shown.encode()) - 1
    return f"{mail.encode()[-room:].decode('utf-8', 'ignore')}#{shown}"


async def free_id(source: str, *, generation: Generation, stores: Sequence[Documents]) -> str:
    """Return an id for a new document: the first derived from its source that no document in `stores` has.

    A moved document keeps the id derived from its first source.
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
    """Return a chunk's id, which changes with its text."""
    return str(uuid5(_namespace(document), f"{index}\n{text}"))


def embedded_hash(text: str) -> UUID:
    """Return the key for reusing a vector: SHA-256 of the embedded text, cut to 128 bits."""
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


def pipeline_fingerprint(
    embedding: EmbeddingIdentity, chunking: Chunking, *, metadata: Mapping[str, Json], settings: IngestionSettings
) -> str:
    """Return a hash of everything but its bytes that a document's chunks depend on."""
    return f"{build_fingerprint(embedding, chunking, settings)}:{_hash(dict(sorted(metadata.items())))}"


def carried_fingerprint(stored: str, generation: Generation, settings: IngestionSettings) -> str:
    """Return a stored document's fingerprint in another generation."""
    return f"{build_fingerprint(generation.embedding, generation.chunking, settings)}:{stored.rpartition(':')[2]}"


def build_fingerprint(embedding: EmbeddingIdentity, chunking: Chunking, settings: IngestionSettings) -> str:
    """Return a hash of the reader version and what readers are told, of the embedding model and of the chunking."""
    told = unusual(read_options(settings, language=chunking.language))
    return _hash(
        [READER_VERSION, embedding.fingerprint, chunking.tokens, chunking.overlap, chunking.language]
        + ([told] if told else [])
    )


def without_reserved_keys(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """Remove keys that Footnote uses itself, such as ``page``."""
    return {key: value for key, value in metadata.items() if key not in OWN_KEYS}


def _namespace(document: str) -> UUID:
    try:
        return UUID(document)
    except ValueError:  # an id that came through LlamaIndex may be any text
        return uuid5(NAMESPACE, document)


def _hash(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
