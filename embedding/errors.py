"""What goes wrong with an embedding model."""

from config.errors import FootnoteError


class EmbeddingModelNotFound(FootnoteError):
    """The configured embedding model cannot be found or run."""


class EmbeddingFailed(FootnoteError):
    """The embedding model failed on a batch."""
