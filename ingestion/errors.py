"""What can go wrong between bytes and chunks. No message carries document text."""

from config.errors import FootnoteError


class EmbeddingModelNotFound(FootnoteError):
    """The configured embedding model cannot be found or run."""


class EmbeddingFailed(FootnoteError):
    """The embedding model failed on a batch."""


class Unreadable(FootnoteError):
    """A file cannot be made into text; the message is one sentence for people, with no text of the document."""
