"""The chunking of a new generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.errors import InvalidCollection
from storage.generation import Chunking

if TYPE_CHECKING:
    from config.settings import IngestionSettings


def choose_chunking(
    settings: IngestionSettings,
    *,
    max_tokens: int,
    tokens: int | None = None,
    overlap: int | None = None,
    language: str | None = None,
) -> Chunking:
    """Return the chunking asked for, with defaults from the settings.

    Defaults are limited to what the embedding model reads, and to an overlap of a quarter of a chunk.

    Args:
        settings: of ingestion.
        max_tokens: that the model reads.
        tokens: of a chunk, as asked for.
        overlap: likewise.
        language: likewise.

    Raises:
        InvalidCollection: a chunk would be longer than the model reads, or an overlap longer than half a chunk.

    """
    if tokens is not None and tokens > max_tokens:
        msg = f"the embedding model reads {max_tokens} tokens: chunk_tokens cannot be more"
        raise InvalidCollection(msg)
    size = tokens or min(settings.chunk_tokens or max_tokens, max_tokens)
    if overlap is not None and overlap > size // 2:
        msg = f"chunk_overlap is half of chunk_tokens at the most, {size // 2}"
        raise InvalidCollection(msg)
    shared = min(settings.chunk_overlap, size // 4) if overlap is None else overlap
    return Chunking(tokens=size, overlap=shared, language=language or settings.language)
