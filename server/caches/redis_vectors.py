"""Question vectors in Redis, shared by replicas. No question fails because Redis is slow, away, or holds garbage.

Under ``footnote:question:{fingerprint}:{hash}`` is a CRC-32, then the numbers, float32, little-endian both.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import structlog

from config.telemetry.metrics import CACHE_LOOKUPS
from server.redis_link import Outage, RedisLink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.generation import EmbeddingIdentity

KEPT_SECONDS = 604_800
"""How long Redis keeps a vector: a week."""

CHECKSUM = 4
LENGTH_TOLERANCE = 1e-3
_log = structlog.get_logger(__name__)


class RedisVectors:
    """`SharedVectors` in Redis."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._outage = Outage(link, "questions are embedded here")

    async def find(self, key: str, identity: EmbeddingIdentity) -> NDArray[np.float32] | None:
        """See `SharedVectors.find`."""
        # one byte more than a vector takes is enough to see that something else is stored, however long it is
        content = await self._link.ask(
            lambda: self._link.client.getrange(_name(key), 0, CHECKSUM + 4 * identity.dimension), outage=self._outage
        )
        vector = vector_in(content, identity) if isinstance(content, bytes) and content else None
        if content and vector is None:
            _log.warning("redis holds an invalid vector", fingerprint=identity.fingerprint)
        labels = {"footnote.cache": "questions_redis", "footnote.result": "miss" if vector is None else "hit"}
        CACHE_LOOKUPS.add(1, labels)
        return vector

    def keep(self, key: str, vector: NDArray[np.float32]) -> None:
        """See `SharedVectors.keep`."""
        self._link.send(
            lambda: self._link.client.set(_name(key), bytes_of(vector), ex=KEPT_SECONDS), outage=self._outage
        )


def bytes_of(vector: NDArray[np.float32]) -> bytes:
    """Return a vector as it is stored."""
    numbers = vector.astype("<f4").tobytes()
    return zlib.crc32(numbers).to_bytes(CHECKSUM, "little") + numbers


def vector_in(content: bytes, identity: EmbeddingIdentity) -> NDArray[np.float32] | None:
    """Return the vector that was stored; None if this model cannot have produced it."""
    checksum, numbers = content[:CHECKSUM], content[CHECKSUM:]
    if len(numbers) != 4 * identity.dimension or zlib.crc32(numbers).to_bytes(CHECKSUM, "little") != checksum:
        return None
    vector = np.frombuffer(numbers, dtype="<f4").astype(np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(length) or length == 0 or (identity.normalized and abs(length - 1) > LENGTH_TOLERANCE):
        return None
    return vector


def _name(key: str) -> str:
    return f"footnote:question:{key}"
