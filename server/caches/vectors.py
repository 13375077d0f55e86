"""The cache of question vectors.

A key is a hash of everything that determines the vector: the model's fingerprint, and the exact text. So entries never
become stale, and no text leaves the process.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import numpy as np
from cachetools import LRUCache

from config.telemetry.metrics import CACHE_LOOKUPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding.embedder import Embedder
    from storage.generation import EmbeddingIdentity

ENTRY_BYTES = 300
"""Memory of an entry besides its vector's numbers: the key and objects."""


class SharedVectors(Protocol):
    """A cache that several processes share; its methods never fail and never take long."""

    async def find(self, key: str, identity: EmbeddingIdentity) -> NDArray[np.float32] | None:
        """Return a vector that this model can have produced; None if there is none, or not in time."""
        ...

    def keep(self, key: str, vector: NDArray[np.float32]) -> None:
        """Store a vector in the background."""
        ...


class QuestionVectors:
    """Embeds each question only once. Use it from one event loop.

    The vectors that it returns are shared and read-only.
    """

    def __init__(self, *, max_bytes: int, shared: SharedVectors | None = None) -> None:
        self._kept: LRUCache[str, NDArray[np.float32]] = LRUCache(max_bytes, getsizeof=_size)
        self._shared = shared

    async def of(self, question: str, *, embedder: Embedder) -> NDArray[np.float32]:
        """Return a question's vector; shape (dimension,), float32.

        Raises:
            EmbeddingFailed: the model failed.

        """
        if not self._kept.maxsize and self._shared is None:
            return await embedder.query(question)
        identity = embedder.identity
        key = key_of(question, identity)
        vector = self._here(key)
        if vector is None:
            vector = await self._shared.find(key, identity) if self._shared else None
            if vector is None:
                vector = await embedder.query(question)
                if self._shared:
                    self._shared.keep(key, vector)
            vector = self._keep(key, vector)
        return vector

    def _here(self, key: str) -> NDArray[np.float32] | None:
        if not self._kept.maxsize:
            return None
        vector = self._kept.get(key)
        CACHE_LOOKUPS.add(1, _labels(is_hit=vector is not None))
        return vector

    def _keep(self, key: str, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        if _size(vector) > self._kept.maxsize:
            return vector
        kept = vector.copy()  # it may be a view of a batch, which would be kept alive
        kept.setflags(write=False)
        self._kept[key] = kept
        return kept


def key_of(question: str, identity: EmbeddingIdentity) -> str:
    """Return the key of a question's vector: the model's fingerprint, and a hash of model and text."""
    model = f"{identity.model}\0{identity.fingerprint}\0{identity.dimension}\0"
    text = (model + question).encode(errors="surrogatepass")
    return f"{identity.fingerprint}:{hashlib.sha256(text).hexdigest()}"


def _size(vector: NDArray[np.float32]) -> int:
    return vector.nbytes + ENTRY_BYTES


def _labels(*, is_hit: bool) -> dict[str, str]:
    return {"footnote.cache": "questions", "footnote.result": "hit" if is_hit else "miss"}
