"""Opening the embedding model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from embedding.files import find_model
from embedding.local import LocalEmbedder

if TYPE_CHECKING:
    from config.settings import Settings
    from embedding.embedder import Embedder

_log = structlog.get_logger(__name__)


def open_embedder(settings: Settings) -> Embedder:
    """Open the model; blocks. A local one is exported the first time, which takes half a minute, most of it imports.

    Raises:
        EmbeddingModelNotFound: there is no such model, or this backend cannot run it, or its provider cannot be asked,
            or its class cannot be made.

    """
    if settings.embedding.is_remote:
        from embedding.remote.opening import open_remote

        return open_remote(settings.embedding)
    from embedding.backends import load_encoder

    files = find_model(settings.embedding)
    encoder, backend = load_encoder(files, settings=settings)
    _log.info("embedding model loaded", model=files.name, backend=backend, dimension=files.dimension)
    return LocalEmbedder(encoder, files=files, settings=settings.embedding)


def slowed_of(embedder: object) -> str | None:
    """Say how little of passages a remote model is asked for since it did not answer in time; None: all it may be."""
    from embedding.remote.embedder import GenerationEmbedder, RemoteEmbedder

    return embedder.slowed if isinstance(embedder, GenerationEmbedder | RemoteEmbedder) else None


async def trouble_of(embedder: Embedder) -> str | None:
    """Return why a model cannot be used now, None if it can: one that another program runs may be out of reach."""
    from embedding.remote.embedder import GenerationEmbedder, RemoteEmbedder

    return await embedder.trouble() if isinstance(embedder, GenerationEmbedder | RemoteEmbedder) else None
