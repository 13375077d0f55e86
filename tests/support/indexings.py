"""`ingestion.pipeline.factory.Indexing` over a test's database: real readers, real tokenizer, made-up vectors."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
from support.pipelines import MadeUpModel

from config.settings import EmbeddingSettings, Settings
from embedding.cache import Described
from embedding.files import ModelFiles, accepted, find_model
from ingestion.pipeline.factory import Indexing
from storage.database import Database
from storage.generation import EmbeddingIdentity, Generation

DIMENSION = 384


class MadeUpVectors(MadeUpModel):
    """Made-up vectors as long as the bundled model's."""

    async def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed."""
        await super().texts(texts)
        return np.stack([_vector(text) for text in texts])


class MadeUpEmbedders:
    """Has the bundled model's files, and opens made-up vectors in its place."""

    def __init__(self) -> None:
        self.model = MadeUpVectors()
        self._files = find_model(EmbeddingSettings())

    async def of(self, _identity: EmbeddingIdentity) -> MadeUpVectors:
        """Return the model."""
        return self.model

    async def described(self, _name: str | None = None, **_: object) -> Described:
        """Return the bundled model."""
        return Described(self._files.identity(EmbeddingSettings()), self._files.max_tokens)

    async def name_of(self, _identity: EmbeddingIdentity) -> None:
        """Know no names."""

    async def require_writable(self, generation: Generation, *, name: str | None = None) -> None:
        """Take what was built with the bundled model."""
        generation.require_embedding(accepted(self._files, EmbeddingSettings()), model=str(name))

    def is_remote(self, _identity: EmbeddingIdentity) -> bool:
        """Run here."""
        return False

    async def files_of(self, _identity: EmbeddingIdentity) -> ModelFiles:
        """Return the real tokenizer."""
        return self._files


class MadeUpIndexing(Indexing):
    """Indexing without a model.

    Attributes:
        dsn: of its database.

    """

    embedders: MadeUpEmbedders  # type: ignore[assignment]
    dsn: str


@asynccontextmanager
async def open_made_up(settings: Settings) -> AsyncIterator[MadeUpIndexing]:
    """Open it; `indexing.embedders.model` is the model."""
    assert settings.database.url
    dsn = settings.database.url.get_secret_value()
    async with AsyncExitStack() as stack:
        database = await Database.open(dsn, settings=settings.database)
        stack.push_async_callback(database.close)
        indexing = MadeUpIndexing(database, settings=settings, stack=stack)
        indexing.embedders = MadeUpEmbedders()
        indexing.dsn = dsn
        yield indexing


def _vector(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    made = np.random.default_rng(seed).normal(size=DIMENSION).astype("float32")
    return made / np.linalg.norm(made)
