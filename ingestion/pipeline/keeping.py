"""A remote embedding model whose vectors are kept until the documents that need them are written.

Each answer of its server is in the database before the next is asked for in its place. An ingestion that is killed, or
cannot write, leaves there what was paid for; the next one takes it from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import structlog

from ingestion.identity import embedded_hash
from ingestion.retrying import RETRYING
from storage.errors import StoreFailed, StoreTimeout, StoreUnavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding.remote.embedder import GenerationEmbedder
    from storage.documents.kept_vectors import KeptVectors

FORGOTTEN_AT_ONCE = 1000
_TROUBLES = (StoreFailed, StoreTimeout, StoreUnavailable)
_log = structlog.get_logger(__name__)


class KeepingEmbedder:
    """See the module; an `Embeds` of the pipeline.

    Keeping is no condition of an ingestion: what cannot be kept, or has no room, is embedded all the same.

    Attributes:
        model: that makes the vectors.
        width: calls of `texts` at once.

    """

    def __init__(self, model: GenerationEmbedder, *, kept: KeptVectors, room: int) -> None:
        """Take an open model; `room`: bytes of vectors that may be kept besides those that are."""
        self.width = model.width
        self.model = model
        self._kept = kept
        self._room = room
        self._held: dict[UUID, int] = {}
        """Bytes of the vectors that are kept for this run."""
        self._written: set[UUID] = set()

    @classmethod
    async def opened(cls, model: GenerationEmbedder, *, kept: KeptVectors, most: int) -> KeepingEmbedder:
        """Take an open model; forget what is too old. `most`: bytes of vectors that are kept of a tenant."""
        await RETRYING(kept.forget_old)
        return cls(model, kept=kept, room=most - await RETRYING(kept.kept_bytes))

    async def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed those passages that have no kept vector; see `embedding.embedder.Embedder.texts`."""
        keys = [embedded_hash(text) for text in texts]
        found = await RETRYING(self._kept.find, keys)
        vectors = np.empty((len(texts), self.model.identity.dimension), dtype=np.float32)
        for place, key in enumerate(keys):
            if key in found:
                vectors[place] = found[key]
        self._held.update({key: vector.nbytes for key, vector in found.items()})
        missing = [place for place, key in enumerate(keys) if key not in found]
        if found:
            _log.info("vectors of an earlier run are used", vectors=len(texts) - len(missing))
        if missing:
            asker = asyncio.get_running_loop()

            async def told(places: Sequence[int], made: NDArray[np.float32]) -> None:
                """Keep a server's answer; the model's connections have an event loop of their own."""
                by_key = {keys[missing[place]]: vector for place, vector in zip(places, made, strict=True)}
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._keep(by_key), asker))

            vectors[missing] = await self.model.texts([texts[place] for place in missing], told=told)
        return vectors

    async def written(self, keys: Iterable[UUID]) -> None:
        """Take note of texts whose document is written; their vectors are deleted some time later."""
        self._written.update(key for key in keys if key in self._held)
        if len(self._written) >= FORGOTTEN_AT_ONCE:
            await self.forget_written()

    async def forget_written(self) -> None:
        """Delete the vectors that documents have now."""
        done, self._written = self._written, set()
        if not done:
            return
        try:
            await self._kept.forget(done)
        except _TROUBLES as exc:
            _log.warning("kept vectors were not deleted", error=type(exc).__name__)  # they are, when they are too old
        self._room += sum(self._held.pop(key, 0) for key in done)

    async def _keep(self, vectors: Mapping[UUID, NDArray[np.float32]]) -> None:
        sizes = {key: vector.nbytes for key, vector in vectors.items()}
        if sum(sizes.values()) > self._room:
            return
        try:
            await self._kept.keep(vectors)
        except _TROUBLES as exc:
            _log.warning("vectors could not be kept", error=type(exc).__name__)
            return
        self._room -= sum(sizes.values())
        self._held.update(sizes)
