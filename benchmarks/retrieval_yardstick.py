"""What retrieval is measured by: bm25s, exact dense search and their fusion, in memory, over the very same chunks.

BM25 is Lucene's (k1 = 1.5, b = 0.75) with the Porter stemmer and English stop words. The vectors are the stored ones,
the questions' are the same model's, and every chunk is compared. Fusion is reciprocal rank fusion, k = 60.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import asyncpg
import bm25s  # type: ignore[import-untyped]
import numpy as np
import Stemmer  # type: ignore[import-not-found]
from numpy.typing import NDArray
from pgvector.asyncpg import register_vector

from config.settings import RetrievalSettings, Settings
from embedding.opening import open_embedder
from storage import chunk_tables
from storage.generation import ACTIVE
from storage.search.statement import CANDIDATES

K1, B = 1.5, 0.75
RRF_K = 60  # of its paper, and everybody's
Ranks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that was found, by us or by the yardstick."""

    source: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Chunks:
    """All chunks of a collection; `indexed` is the text that the store's lexical leg has of each."""

    places: list[Found]
    indexed: list[str]
    vectors: NDArray[np.float32]


async def read_chunks(url: str, collection: str) -> Chunks:
    """Read the chunks of a collection's active generation."""
    connection: Any = await asyncpg.connect(url)
    try:
        await register_vector(connection)
        generation = await connection.fetchval(
            f"SELECT g.id FROM {ACTIVE} WHERE c.name = $1",  # noqa: S608 (a join of ours)
            collection,
        )
        rows = await connection.fetch(
            f"""SELECT d.source, c.start_char, c.end_char, c.text, c.embedding,
                concat_ws(' ', c.metadata_ ->> 'title', c.metadata_ ->> 'heading', c.text) AS indexed
            FROM {chunk_tables.qualified(generation)} c JOIN footnote.documents d
                ON d.generation_id = c.generation_id AND d.id = c.document_id ORDER BY c.id"""  # noqa: S608 (names of ours)
        )
    finally:
        await connection.close()
    places = [Found(row["source"], row["start_char"], row["end_char"], row["text"]) for row in rows]
    return Chunks(places, [row["indexed"] for row in rows], np.stack([row["embedding"].to_numpy() for row in rows]))


class Yardstick:
    """Ranks chunks by words, by vectors, and by both."""

    def __init__(self, chunks: Chunks, *, settings: RetrievalSettings) -> None:
        self._chunks = chunks
        self._settings = settings
        self._stemmer = Stemmer.Stemmer("english")

    @cached_property
    def _bm25(self) -> bm25s.BM25:
        index = bm25s.BM25(method="lucene", k1=K1, b=B)
        index.index(self._words(self._chunks.indexed), show_progress=False)
        return index

    def lexical(self, question: str, *, depth: int) -> list[int]:
        """Return the chunks that have a word of the question, best first."""
        (words,) = self._words([question])
        known = [word for word in words if word in self._bm25.vocab_dict]
        return _best(self._bm25.get_scores(known), depth, least=0.0) if known else []

    def dense(self, vector: NDArray[np.float32], *, depth: int) -> list[int]:
        """Return the nearest chunks, nearest first."""
        return _best(self._chunks.vectors @ vector, depth, least=-2.0)

    def fused(self, *rankings: Sequence[int], depth: int) -> list[int]:
        """Return the fusion of rankings."""
        scores: dict[int, float] = {}
        for ranking in rankings:
            for rank, chunk in enumerate(ranking, start=1):
                scores[chunk] = scores.get(chunk, 0.0) + 1 / (RRF_K + rank)
        return sorted(scores, key=lambda chunk: (-scores[chunk], chunk))[:depth]

    def rankings(self, question: str, vector: NDArray[np.float32], *, k: int) -> dict[str, list[Found]]:
        """Return the best `k` by each leg and by their fusion, which sees as many candidates as Footnote's does."""
        depth = max(k, CANDIDATES)
        words, near = self.lexical(question, depth=depth), self.dense(vector, depth=depth)
        ranked = {"keyword": words[:k], "vector": near[:k], "hybrid": self.fused(near, words, depth=k)}
        return {mode: [self._chunks.places[chunk] for chunk in chunks] for mode, chunks in ranked.items()}

    def _words(self, texts: list[str]) -> list[list[str]]:
        tokens: list[list[str]] = bm25s.tokenize(
            texts, stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False
        )
        return tokens


async def embed(questions: Iterable[str], *, settings: Settings) -> list[NDArray[np.float32]]:
    """Return the questions' vectors, by the model that the settings name."""
    embedder = open_embedder(settings)
    try:
        return [np.asarray(vector) for vector in await asyncio.gather(*map(embedder.query, questions))]
    finally:
        embedder.close()


def _best(scores: NDArray[np.float32], depth: int, *, least: float) -> list[int]:
    some = np.argpartition(-scores, min(depth, len(scores) - 1))[:depth]
    some = some[scores[some] > least]
    order: list[int] = some[np.lexsort((some, -scores[some]))].tolist()
    return order
