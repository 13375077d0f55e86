"""The embedding models in use: a generation is read and written with the one that it was built with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from embedding.files import BUNDLED, find_model
from storage.errors import EmbeddingMismatch

if TYPE_CHECKING:
    from config.settings import EmbeddingSettings, Settings
    from embedding.embedder import Embedder
    from embedding.files import ModelFiles
    from storage.generation import EmbeddingIdentity


class Embedders:
    """Opens each model once, when a generation first needs it; the configured one may be open already."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[str, Embedder] = {}
        self._lent: set[str] = set()
        self._opening = asyncio.Lock()

    def lend(self, embedder: Embedder) -> None:
        """Use a model that is open; whoever opened it closes it."""
        self._open[embedder.identity.fingerprint] = embedder
        self._lent.add(embedder.identity.fingerprint)

    def get(self, identity: EmbeddingIdentity) -> Embedder | None:
        """Return a model if it is open."""
        return self._open.get(identity.fingerprint)

    async def of(self, identity: EmbeddingIdentity) -> Embedder:
        """Return the model that a generation was built with; opening it takes seconds.

        Raises:
            EmbeddingMismatch: it is not to be had here any more.
            EmbeddingModelNotFound: its files are gone, or no backend runs it.

        """
        from embedding.opening import open_embedder

        async with self._opening:
            if (known := self.get(identity)) is not None:
                return known
            wanted, _ = await self.found(identity)
            embedder = await asyncio.to_thread(open_embedder, self._settings.model_copy(update={"embedding": wanted}))
            self._open[identity.fingerprint] = embedder
            return embedder

    async def files_of(self, identity: EmbeddingIdentity) -> ModelFiles:
        """Return the files of the model that a generation was built with.

        Raises:
            EmbeddingMismatch: they are not those any more.
            EmbeddingModelNotFound: there are none.

        """
        if (known := self.get(identity)) is not None:
            return known.files
        return (await self.found(identity))[1]

    async def found(self, identity: EmbeddingIdentity) -> tuple[EmbeddingSettings, ModelFiles]:
        """Return the settings that open the model which a generation was built with, and its files.

        Raises:
            EmbeddingMismatch: they are not those any more.
            EmbeddingModelNotFound: there are none.

        """
        return await asyncio.to_thread(self._find, identity)

    def give_up_others(self, fingerprints: set[str]) -> list[Embedder]:
        """Forget the models of other fingerprints, but those that are lent; the caller closes them."""
        return [self._open.pop(each) for each in set(self._open) - fingerprints - self._lent]

    def close(self) -> None:
        """Close all of them."""
        for embedder in self.give_up_others(set()):
            embedder.close()

    def _find(self, identity: EmbeddingIdentity) -> tuple[EmbeddingSettings, ModelFiles]:
        configured = self._settings.embedding
        candidates = [configured] if identity.model == configured.model else []
        if identity.options is not None:
            candidates.append(_as_built(configured, identity))
        for candidate in candidates or [configured]:
            files = find_model(candidate)
            if files.identity(candidate).fingerprint == identity.fingerprint:
                return candidate, files
        msg = (
            f"the model {identity.model} (revision {identity.revision}) that a generation was built with is not what "
            "is here under that name; put it back, or build a new generation with --reindex"
        )
        raise EmbeddingMismatch(msg)


def _as_built(configured: EmbeddingSettings, identity: EmbeddingIdentity) -> EmbeddingSettings:
    from pathlib import Path

    is_local = identity.model == BUNDLED or Path(identity.model).is_dir()
    return configured.model_copy(
        update={
            "model": identity.model,
            "revision": None if is_local else identity.revision,
            "normalize": identity.normalized,
            **dict(identity.options or {}),
        }
    )
