"""What sends texts to a model elsewhere, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Prompt = Literal["query", "text"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider answered.

    Attributes:
        vectors: of length one, shape (texts, dimension).
        tokens: that the provider counted; None if it tells none.

    """

    vectors: NDArray[np.float32]
    tokens: int | None = None


class Provider(Protocol):
    """Sends one batch in one request. `name` is what telemetry calls it."""

    name: str

    async def embed(self, texts: Sequence[str], *, prompt: Prompt) -> Reply:
        """Embed a batch, instructions included already where the settings have some.

        Raises:
            EmbeddingFailed: the provider refused these texts, or its answer cannot be used.
            TooLarge: it wants fewer, or shorter texts.
            EmbeddingUnavailable: it cannot be asked; `retryable` says whether that may pass.

        """
        ...

    async def close(self) -> None:
        """Close connections, or end threads."""
        ...
