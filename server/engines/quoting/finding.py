"""Finds what passages say about a question: whether they answer it, and the units to quote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from server.engines.quoting.composing import composed
from server.engines.quoting.questions import Asked, looked_up, names_nothing, understand
from server.engines.quoting.ranking import Ranked, by_vectors, by_words, embedded_text
from server.engines.quoting.readings import readings
from server.engines.quoting.refusal import best_coverage, is_of_words, is_small_talk, refuses, without_courtesies
from server.engines.quoting.units import Source, Unit, units
from server.engines.quoting.unmentioned import Mentions
from server.engines.quoting.words import Words

if TYPE_CHECKING:
    from llama_index.core.schema import NodeWithScore

    from server.engines.parts import EngineParts

MAX_CHARACTERS = 24_000
"""Of all passages together: what comes later in the order of passages is not looked at."""


class Finder:
    """Looks at one question's passages.

    `look` takes some ten milliseconds of one core and a statement; `quotations` embeds some short texts besides.
    What it finds takes ten times the passages' memory: `put_away` forgets it while a model writes.
    """

    def __init__(self, question: str, nodes: Sequence[NodeWithScore], *, parts: EngineParts) -> None:
        self._said, self._question = question, without_courtesies(question)
        self._sources = sources_of(nodes)
        self._metadata: list[dict[str, Any]] = [found.node.metadata for found in nodes]
        scores = (parts.record.scores.get(found.node.node_id, {}) for found in nodes)
        self._cosine = max((score["dense"] for score in scores if score.get("dense") is not None), default=None)
        self._sees_all = sum(len(found.node.get_content()) for found in nodes) <= MAX_CHARACTERS
        self._parts = parts
        generation = parts.store.generation
        self._language = generation.chunking.language
        self._model = generation.embedding.model
        self._words = Words(self._language)
        self._asked: Asked | None = None
        self._units: list[Unit] = []
        self._readings: list[Unit] | None = None

    @property
    def is_small_talk(self) -> bool:
        """Whether the question is none of the documents: a greeting, thanks."""
        return is_small_talk(self._said)

    @property
    def names_nothing(self) -> bool:
        """Whether the question has no word to look for, as small talk; never where the settings refuse nothing."""
        may_refuse = self._parts.settings.retrieval.refuse > 0
        return may_refuse and (self.is_small_talk or names_nothing(self._question))

    async def refuses(self, *, share: float = 1.0) -> bool:
        """Tell whether the passages do not answer the question; at a share of the settings' rate.

        Raises:
            StoreUnavailable: the database cannot be reached.

        """
        rate = share * self._parts.settings.retrieval.refuse
        if rate <= 0 or self.is_small_talk:
            return False
        asked = await self._look()
        by_words_alone = self._sees_all and is_of_words(asked, language=self._language, model=self._model)
        if by_words_alone and not await asyncio.to_thread(self._mentions.has_any, asked):
            return True
        covered = await asyncio.to_thread(self._best_coverage, asked)
        return refuses(
            asked,
            covered=covered,
            cosine=self._cosine,
            model=self._model,
            rate=rate,
            language=self._language,
        )

    async def quotations(self) -> list[Unit]:
        """Return the units to quote, the best first; none of passages without a word.

        Raises:
            EmbeddingFailed: the embedding model failed.
            StoreUnavailable: the database cannot be reached.

        """
        asked = await self._look()
        chosen = await asyncio.to_thread(by_words, asked, self._units, words=self._words)
        if not chosen:
            return []
        question = await self._parts.vectors.of(self._question, embedder=self._parts.embedder)
        vectors = await self._parts.embedder.queries([embedded_text(each.unit) for each in chosen])
        ranked: list[Ranked] = by_vectors(chosen, question=question, vectors=vectors)
        self._readings = readings(asked, ranked, self._sources, words=self._words)
        return composed(ranked, readings=self._readings)

    async def readings(self) -> list[Unit]:
        """Return a unit of each place that the question fits equally well; none where it fits one place best.

        Words and form decide, and vectors where units to quote were asked for before.

        Raises:
            StoreUnavailable: the database cannot be reached.

        """
        if self._readings is None:
            asked = await self._look()
            ranked = await asyncio.to_thread(by_words, asked, self._units, words=self._words)
            self._readings = readings(asked, ranked, self._sources, words=self._words)
        return self._readings

    async def unmentioned(self) -> list[str]:
        """Return what the question names and no passage mentions; nothing where not all of them was looked at.

        Raises:
            StoreUnavailable: the database cannot be reached.

        """
        if not self._sees_all:
            return []
        asked = await self._look()
        return await asyncio.to_thread(lambda: self._mentions.unmentioned(asked))

    def metadata_of(self, number: int) -> Mapping[str, Any]:
        """Return the metadata of a passage, by its number from 1; not after `put_away`."""
        return self._metadata[number - 1]

    def put_away(self) -> None:
        """Forget all but the passages: what is asked for later is found again."""
        self._asked, self._units, self._readings, self._metadata = None, [], None, []
        self.__dict__.pop("_mentions", None)

    @cached_property
    def _mentions(self) -> Mentions:
        return Mentions(self._sources, words=self._words)

    def _best_coverage(self, asked: Asked) -> float:
        half = self._mentions.mentioned_half(asked)
        return best_coverage(half, self._units, words=self._words)

    async def _look(self) -> Asked:
        if self._asked is None:
            weights = await self._parts.store.word_weights(looked_up(self._question, self._words))
            self._units = await asyncio.to_thread(units, self._sources)
            self._asked = understand(self._question, weights, words=self._words, language=self._language)
        return self._asked


def sources_of(nodes: Sequence[NodeWithScore]) -> list[Source]:
    """Return the passages as what may be quoted, numbered from 1 in their order."""
    made: list[Source] = []
    room = MAX_CHARACTERS
    for number, found in enumerate(nodes, start=1):
        node = found.node
        text = node.get_content()[:room]
        room -= len(text)
        if not text:
            break
        made.append(
            Source(
                number,
                text,
                name=f"{node.metadata.get('title') or ''} {node.metadata.get('file_name') or ''}",
                heading=str(node.metadata.get("heading") or ""),
                document=node.ref_doc_id or node.node_id,
                start=getattr(node, "start_char_idx", None),
                end=getattr(node, "end_char_idx", None),
            )
        )
    return made
