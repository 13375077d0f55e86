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


class EmbeddingUnavailable(FootnoteError):
    """A remote embedding model cannot be reached, is overloaded, or lets us in no more: it is not about the texts.

    Attributes:
        retryable: whether it may pass by itself.
        retry_after: seconds that the provider asks us to wait; None if it does not.

    """

    slug = "model-unavailable"

    def __init__(self, message: str, *, retryable: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after
