"""Embeds lists of texts for clients with any configured model, in batches so small that questions do not wait long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedding.tokenizer import load_tokenizer
from server.errors import ModelNotFound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config.settings import EmbeddingSettings
    from embedding.cache import Embedders
    from embedding.embedder import Embedder

PIECE_TOKENS = 512
"""Of one call of the model, padding included: about 60 ms on a slow processor."""
PIECE_TEXTS = 64
COUNTED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts.

    Attributes:
        vectors: shape (texts, dimension), float32, in the order of the texts.
        tokens: how many the model read.
        truncated: positions of texts that are longer than the model's limit.

    """

    vectors: NDArray[np.float32]
    tokens: int
    truncated: tuple[int, ...]


class EmbeddingModels:
    """The configured models: the default by its own name, others by those that the settings give them.

    Attributes:
        names: of all, the default's first.

    """

    def __init__(self, default: Embedder, *, others: Mapping[str, EmbeddingSettings], embedders: Embedders) -> None:
        """Take the default, which is open; others are opened when they are asked for."""
        service = EmbeddingService(default)
        self.names = (service.model, *(name for name in others if name != service.model))
        self._embedders = embedders
        self._open = {service.model: service}

    async def named(self, name: str) -> EmbeddingService:
        """Return a model; to open one takes seconds.

        Raises:
            ModelNotFound: none of them is called this.
            EmbeddingModelNotFound: it cannot be used.

        """
        if name not in self.names:
            raise ModelNotFound(name, instead=f"this server embeds with {' and '.join(map(repr, self.names))}")
        if name not in self._open:
            embedder = await self._embedders.named(name)
            self._open.setdefault(name, EmbeddingService(embedder, name=name))
        return self._open[name]


class EmbeddingService:
    """Embeds lists of texts with one model.

    A local model runs on one thread, which questions need too. All lists share one lock, so that at most one of their
    batches is queued: a question waits for one batch at most.

    Attributes:
        model: the name by which clients know the model.
        dimension: of its vectors.
        max_tokens: the model's limit for one text, special tokens included.

    """

    def __init__(self, embedder: Embedder, *, name: str | None = None) -> None:
        """Take an open model; `name`: what clients call it, unless that is its own."""
        self._embedder = embedder
        self._turn = asyncio.Lock()
        self.model = name or embedder.identity.model
        self.dimension = embedder.identity.dimension
        self.max_tokens = embedder.files.max_tokens

    async def embed(self, texts: Sequence[str], *, as_questions: bool = False) -> Embedded:
        """Embed passages, or questions; cancelling the call stops after the batch in work.

        Raises:
            EmbeddingFailed: the model failed.

        """
        lengths = await self._lengths(texts)
        read = np.minimum(lengths, self.max_tokens)
        call = self._embedder.queries if as_questions else self._embedder.texts
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for piece in _pieces(read):
            async with self._turn:
                vectors[piece] = await call([texts[index] for index in piece])
        return Embedded(
            vectors,
            tokens=int(read.sum()),
            truncated=tuple(np.flatnonzero(lengths > self.max_tokens).tolist()),
        )

    async def _lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Count each text's tokens with the model's own tokenizer, on a thread."""
        counts: list[int] = []
        for begin in range(0, len(texts), COUNTED_AT_ONCE):
            counts += await asyncio.to_thread(self._count, texts[begin : begin + COUNTED_AT_ONCE])
        return np.array(counts, dtype=np.int64)

    def _count(self, texts: Sequence[str]) -> list[int]:
        # the batch method releases the GIL, the one for a single text does not
        tokenizer = load_tokenizer(str(self._embedder.files.tokenizer_file))
        return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))]


def _pieces(lengths: NDArray[np.int64]) -> Iterator[list[int]]:
    """Group texts of like length, the shortest first: a call is padded to its longest text."""
    piece: list[int] = []
    for index in np.argsort(lengths, kind="stable").tolist():
        if piece and (len(piece) == PIECE_TEXTS or (len(piece) + 1) * lengths[index] > PIECE_TOKENS):
            yield piece
            piece = []
        piece.append(index)
    if piece:
        yield piece
