"""Errors of the embedding model."""

from config.errors import FootnoteError


class EmbeddingModelNotFound(FootnoteError):
    """The configured embedding model cannot be found or loaded."""

    slug = "model-unavailable"


class EmbeddingFailed(FootnoteError):
    """The embedding model failed on a batch."""

    slug = "model-unavailable"
