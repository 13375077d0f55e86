"""Opening the embedding model."""

from __future__ import annotations

import structlog

from config.settings import Settings
from embedding.embedder import Embedder
from embedding.files import find_model

_log = structlog.get_logger(__name__)


def open_embedder(settings: Settings) -> Embedder:
    """Load the model; the first time it is exported, which takes half a minute, most of it imports.

    Raises:
        EmbeddingModelNotFound: there is no such model, or this backend cannot run it.

    """
    from embedding.backends import load_encoder

    files = find_model(settings.embedding)
    encoder, backend = load_encoder(files, settings=settings)
    _log.info("embedding model loaded", model=files.name, backend=backend, dimension=files.dimension)
    return Embedder(encoder, files=files, settings=settings.embedding)
