"""A generation that a request is pinned to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.errors import FootnoteError
from storage.generation import Generation

if TYPE_CHECKING:
    from embedding.embedder import Embedder


@dataclass(frozen=True, slots=True)
class Pinned:
    """A generation that a request is pinned to, and the model that it was built with.

    Attributes:
        failure: why that model cannot be used; None if it can.

    """

    generation: Generation
    embedder: Embedder | None = None
    failure: FootnoteError | None = None

    def require_embedder(self) -> Embedder:
        """Return the model.

        Raises:
            EmbeddingMismatch: it is not available here.
            EmbeddingModelNotFound: its files are missing.

        """
        if self.embedder is None:
            raise self.failure or FootnoteError
        return self.embedder
