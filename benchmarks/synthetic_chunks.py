"""Made-up chunks in any number: clustered vectors, texts of Zipf's words, metadata; the same again for the same seed.

A topic is a centre, a document lies about its topic, a chunk about its document, a question about a chunk: so nearest
neighbours mean something, as those of a model do. The spread falls off over the dimensions as that of real ones does. A
text takes half of its words from its topic's own; the commonest words are English stop words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from benchmarks.store_readers import Members, access_of, members, names_of
from storage.vector_store import make_node, node_json

Vectors = NDArray[np.float32]
BLOCK = 5000  # chunks made at a time
DOCUMENT = 10  # chunks of a document
WORDS, TOPIC_WORDS = 60_000, 100
CHUNK_WORDS = 100
STOP_WORDS = "the of and to in a is that for it as was with be by on not he his but".split()  # noqa: SIM905 (to be read)
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "or")]
STAND_INS = "NODE-ID", "DOCUMENT-ID", '"TEAM"', '"CUSTOMER"', '"SHELF"', '"WEIGHT"', '"INDEX"', "SOURCE"


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole documents with their chunks.

    Attributes:
        chunks: rows of node id, document id, index in the document, text, metadata as JSON, hash; by `vectors`' order.
        marks: metadata of each chunk by key, for filters; of each group whether it reads the chunk, see
            `benchmarks.store_readers`.
        access: of each document, those who may read it.

    """

    documents: list[str]
    chunks: list[tuple[UUID, str, int, str, str]]
    vectors: Vectors
    marks: Mapping[str, NDArray[np.int64]]
    access: list[list[str]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one of the chunks."""

    embedding: Vectors
    text: str


@dataclass(frozen=True)
class SyntheticChunks:
    """`count` chunks of `dimension` dimensions."""

    count: int
    dimension: int = 384
    seed: int = 7

    def blocks(self) -> Iterator[Block]:
        """Yield all chunks, some at a time: memory does not grow with their number."""
        for first in range(0, self.count, BLOCK):
            yield self._block(first, min(BLOCK, self.count - first))

    def questions(self, count: int) -> list[Question]:
        """Return questions about chunks from all over."""
        rng = self._rng(2, 0)
        asked: list[Question] = []
        for first in rng.permutation(range(0, self.count, BLOCK))[: max(1, count // 20)]:
            block = self._block(int(first), min(BLOCK, self.count - int(first)))
            for row in rng.choice(len(block.chunks), size=min(20, count - len(asked)), replace=False):
                embedding = _unit(block.vectors[row] + 0.8 * _unit(self._noise(rng, 1)))[0]
                own = rng.choice(block.chunks[row][3].split(), size=4, replace=False)
                asked.append(Question(embedding, " ".join([*own, *self._vocabulary[self._common(rng, 4)]])))
        return asked

    def _block(self, first: int, count: int) -> Block:
        rng = self._rng(1, first)
        numbers = np.arange(first, first + count)
        documents, of = np.unique(numbers // DOCUMENT, return_inverse=True)
        topics = self._topics_of(rng, len(documents))
        about = _unit(self._topics[topics] + 0.6 * _unit(self._noise(rng, len(documents))))
        vectors = _unit(about[of] + 0.5 * _unit(self._noise(rng, count)))
        marks = {
            "team": rng.integers(50, size=len(documents))[of],  # 2 % each
            "customer": rng.integers(400, size=len(documents))[of],  # 0.25 % each
            "shelf": (topics % 50)[of],  # 2 % each, whole topics: most lie far from a question
            "weight": rng.integers(10_000, size=len(documents))[of],
        }
        groups = {name: read[documents][of].astype(np.int64) for name, read in self._members.items()}
        named = names_of(range(count), groups)
        texts = self._texts(rng, topics[of])
        ids = [f"document-{number}" for number in documents]
        rows = zip(
            numbers.tolist(),
            of.tolist(),
            texts,
            zip(*(mark.tolist() for mark in marks.values()), strict=True),
            strict=True,
        )
        chunks = [
            # filters look at the outermost names only
            (UUID(int=n), ids[d], n % DOCUMENT, text, self._metadata(n, ids[d], mark)[:-1] + groups_of + "}")
            for (n, d, text, mark), groups_of in zip(rows, named, strict=True)
        ]
        access = [access_of(int(row), groups) for row in np.unique(of, return_index=True)[1]]
        return Block(ids, chunks, vectors, marks | groups, access)

    def _texts(self, rng: np.random.Generator, topics: NDArray[np.int64]) -> Iterator[str]:
        half = CHUNK_WORDS // 2
        common = self._common(rng, len(topics) * half).reshape(len(topics), half)
        own = self._topic_words[topics[:, None], rng.integers(TOPIC_WORDS, size=(len(topics), half))]
        for words in self._vocabulary[np.concatenate([common, own], axis=1)]:
            yield " ".join(words)

    def _metadata(self, number: int, document: str, marks: tuple[int, ...]) -> str:
        made = self._template
        values = str(UUID(int=number)), document, *(str(mark) for mark in marks)
        for stand_in, value in zip(STAND_INS, (*values, str(number % DOCUMENT), f"{document}.html"), strict=True):
            made = made.replace(stand_in, value).replace(stand_in.replace('"', '\\"'), value)
        return made

    def _common(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        return np.searchsorted(self._zipf, rng.random(count)).clip(max=WORDS - 1)

    def _noise(self, rng: np.random.Generator, count: int) -> Vectors:
        spread = (np.arange(self.dimension, dtype=np.float32) + 1) ** -0.5
        return rng.standard_normal((count, self.dimension), dtype=np.float32) * spread

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    @cached_property
    def _topics(self) -> Vectors:
        return _unit(self._noise(self._rng(0, 0), min(4000, max(50, self.count // 250))))

    def _topics_of(self, rng: np.random.Generator, documents: int) -> NDArray[np.int64]:
        return rng.choice(len(self._topics), size=documents, p=self._topic_shares)

    @cached_property
    def _members(self) -> Members:
        """Which documents each group reads; a block's topics are the first that is drawn for it."""
        blocks = [(first, min(BLOCK, self.count - first)) for first in range(0, self.count, BLOCK)]
        topics = [self._topics_of(self._rng(1, first), -(-chunks // DOCUMENT)) for first, chunks in blocks]
        return members(np.concatenate(topics), seed=self.seed)

    @cached_property
    def _topic_shares(self) -> NDArray[np.float64]:
        shares = (np.arange(len(self._topics)) + 1) ** -0.5
        return np.asarray(shares / shares.sum())

    @cached_property
    def _topic_words(self) -> NDArray[np.int64]:
        return self._rng(0, 1).integers(500, WORDS, size=(len(self._topics), TOPIC_WORDS))

    @cached_property
    def _zipf(self) -> NDArray[np.float64]:
        shares = (np.arange(WORDS) + 1.0) ** -1.05
        return np.cumsum(shares / shares.sum())

    @cached_property
    def _vocabulary(self) -> NDArray[np.object_]:
        rng = self._rng(0, 2)
        made: dict[str, None] = dict.fromkeys(STOP_WORDS)
        while len(made) < WORDS:
            made["".join(rng.choice(SYLLABLES, size=rng.integers(2, 5)))] = None
        return np.array(list(made), dtype=object)

    @cached_property
    def _template(self) -> str:
        node, document, team, customer, shelf, weight, index, source = (word.strip('"') for word in STAND_INS)
        marks = {"team": team, "customer": customer, "shelf": shelf, "weight": weight, "chunk_index": index}
        made = make_node(
            node,
            document_id=document,
            text="",
            metadata={"title": f"About {document}", "heading": "A heading", "source": source, **marks},
            start=0,
            end=700,
        )
        return json.dumps(json.loads(node_json(made)))


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)
