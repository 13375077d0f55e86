"""An open embedding model, wherever it runs, and what is known of one before it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from config.settings import EmbeddingSettings
    from storage.generation import EmbeddingIdentity


class EmbeddingModel(Protocol):
    """An embedding model before it is opened.

    Attributes:
        name: as configured.
        revision: tells its versions from each other, as far as they can be told.
        max_tokens: that the model reads, special tokens included.
        tokenizer_file: for the library ``tokenizers``; the model's own, or one that estimates.

    """

    @property
    def name(self) -> str: ...  # noqa: D102 (see above)
    @property
    def revision(self) -> str: ...  # noqa: D102 (see above)
    @property
    def dimension(self) -> int: ...  # noqa: D102 (see above)
    @property
    def max_tokens(self) -> int: ...  # noqa: D102 (see above)
    @property
    def tokenizer_file(self) -> Path: ...  # noqa: D102 (see above)

    def identity(self, settings: EmbeddingSettings) -> EmbeddingIdentity:
        """Return what a collection remembers; everything that changes vectors is in the fingerprint."""
        ...


class Embedder(Protocol):
    """An open embedding model. Close it once; `close` may block.

    Attributes:
        files: what was known before it was opened.
        identity: what a new collection remembers of it.
        accepted: fingerprints of the generations that may be written to with it.
        width: calls of `texts` at once.

    """

    @property
    def files(self) -> EmbeddingModel: ...  # noqa: D102 (see above)
    @property
    def identity(self) -> EmbeddingIdentity: ...  # noqa: D102 (see above)
    @property
    def accepted(self) -> frozenset[str]: ...  # noqa: D102 (see above)
    @property
    def width(self) -> int: ...  # noqa: D102 (see above)

    async def query(self, text: str) -> NDArray[np.float32]:
        """Embed a question; shape (dimension,), float32.

        Raises:
            EmbeddingFailed: the model failed.
            EmbeddingUnavailable: it cannot be reached.
            EmbeddingMismatch: another model answers in its name.

        """
        ...

    async def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed several short texts as questions; shape (len(texts), dimension); raises what `query` does."""
        ...

    async def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages; shape (len(texts), dimension), float32; raises what `query` does."""
        ...

    def close(self) -> None:
        """Let the calls in hand finish, and let go of what they need."""
        ...
