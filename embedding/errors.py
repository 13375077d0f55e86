"""Errors of the embedding model."""

from config.errors import FootnoteError


class EmbeddingModelNotFound(FootnoteError):
    """The configured embedding model cannot be found or loaded."""

    slug = "model-unavailable"


class NotOnTheHub(EmbeddingModelNotFound):
    """A model is neither a directory here nor to be had from the hub."""


class ExportersMissing(EmbeddingModelNotFound):
    """A model would have to be exported, and the libraries that export one are not installed."""


class EmbeddingFailed(FootnoteError):
    """The embedding model failed on a batch."""

    slug = "model-unavailable"
