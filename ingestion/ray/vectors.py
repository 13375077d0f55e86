"""Embedding on the cluster; each actor embeds a slice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from config.errors import FootnoteError
from embedding.errors import EmbeddingFailed
from ingestion.ray.actors import Refused
from ingestion.ray.pool import CallFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingestion.ray.pool import ActorPool


class SpreadEmbedder:
    """Like `Embedder.texts`, on other machines, with the same model."""

    def __init__(self, pool: ActorPool, *, batch_size: int) -> None:
        self._pool = pool
        self._batch_size = batch_size

    @property
    def width(self) -> int:
        """Number of concurrent calls; each is spread over the actors."""
        return self._pool.size

    async def texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Embed passages, at least one; shape (len(texts), dimension), float32.

        Raises:
            EmbeddingFailed: the model failed, or several workers in a row were lost with these texts.
            ClusterUnavailable: the cluster is lost.

        """
        slices = [texts[begin : begin + self._batch_size] for begin in range(0, len(texts), self._batch_size)]
        try:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(self._slice(part)) for part in slices]
        except* FootnoteError as failures:
            raise failures.exceptions[0] from None
        return np.concatenate([part.result() for part in parts])

    async def _slice(self, texts: Sequence[str]) -> NDArray[np.float32]:
        try:
            made: Any = await self._pool.call("texts", texts)
        except CallFailed as exc:
            raise EmbeddingFailed(str(exc)) from None
        if isinstance(made, Refused):
            raise EmbeddingFailed(made.reason)
        return made  # type: ignore[no-any-return]
