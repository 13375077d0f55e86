"""Query fusion: the model paraphrases the question, all wordings are searched at once, their rankings are fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from config.errors import FootnoteError
from server.engines.abilities import conversational
from server.engines.assembly import retriever_engine
from server.engines.models.errors import ModelError
from server.engines.parts import EngineParts
from server.engines.passages.selection import deeper, depth_of
from server.engines.retrieval import OwnRetriever, search_request
from server.engines.writing.consulting import all_of, consult, listed
from server.engines.writing.prompts import EXPANSION_SYSTEM, quoted_question
from storage.errors import TableGone
from storage.search.search import Hit, Vector
from storage.vector_store import hit_node

OWN_WEIGHT = 2.0  # of the original question; each paraphrase has 1
WORDING_TOKENS = 60  # of one paraphrase, JSON syntax included
_log = structlog.get_logger(__name__)


class FusionRetriever(OwnRetriever):
    """Reciprocal rank fusion over searches for the question and its paraphrases.

    The original question is always searched for, and has the highest weight. LlamaIndex's `QueryFusionRetriever` fails
    entirely if one search fails, takes every line of the model's reply for a query, embeds them one by one, and weights
    retrievers instead of queries.
    """

    async def _hits(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        record, own = self._parts.record, query_bundle.query_str
        with record.stage("expand"):
            others = await self._wordings(own)
        record.queries = tuple(others)
        queries = [own, *others]
        embedder = self._parts.pinned.require_embedder()
        with record.stage("embed"):
            vectors = await embedder.queries(queries)
        with record.stage("retrieve"):
            depth = depth_of(self._parts)
            found = await self._found(queries, list(vectors), depth=depth)
            while further := await deeper(found, self._parts, depth=depth):
                depth = further
                found = await self._found(queries, list(vectors), depth=depth)
        return found

    async def _found(self, queries: Sequence[str], vectors: Sequence[Vector], *, depth: int) -> list[NodeWithScore]:
        rankings = await self._rankings(queries, vectors, depth=depth)
        fused = fuse(rankings, rrf_k=self._parts.settings.retrieval.rrf_k)[:depth]
        self._parts.record.scores.update({hit.node_id: hit.scores for hit in fused})
        if self._parts.record.trail is not None:
            self._parts.record.trail.fused(fused)
        return [NodeWithScore(node=hit_node(hit), score=hit.score) for hit in fused]

    async def _wordings(self, question: str) -> list[str]:
        """Return paraphrases; none if the model fails."""
        most, model = self._parts.settings.engines.fusion_queries, conversational(self._parts.model)
        if not most:
            return []
        if model is None:
            self._parts.record.note("There is no chat model to expand the question: it was searched for alone.")
            return []
        messages = quoted_question(EXPANSION_SYSTEM.format(most=most), question)
        try:
            reply = await consult(self._parts, model, messages, max_tokens=WORDING_TOKENS * (most + 1))
        except ModelError as error:
            _log.info("a question was not expanded", error=type(error).__name__)
            self._parts.record.note("The model could not expand the question: it was searched for alone.")
            return []
        found = listed(reply, most=most, besides=question)
        if not found:
            self._parts.record.note("The model gave no other wordings: the question was searched for alone.")
        return found

    async def _rankings(self, queries: Sequence[str], vectors: Sequence[Vector], *, depth: int) -> list[Ranking]:
        """Search for all wordings; some searches may fail.

        Raises:
            FootnoteError: all failed, or the generation is gone; the caller then asks its successor.

        """
        settings = self._parts.settings.engines
        weights = [OWN_WEIGHT, *[1.0] * (len(queries) - 1)]
        legs = [
            partial(self._ranking, query, vector, weight=weight, depth=depth)
            for query, vector, weight in zip(queries, vectors, weights, strict=True)
        ]
        ended = await all_of(legs, at_once=settings.parallel_calls)
        failures = [end for end in ended if isinstance(end, FootnoteError)]
        if gone := [failure for failure in failures if isinstance(failure, TableGone)]:
            raise gone[0]
        if len(failures) == len(ended):
            raise failures[0]
        if failures:
            self._parts.record.note(f"{len(failures)} of {len(ended)} searches failed and were left out.")
        return [end for end in ended if isinstance(end, Ranking)]

    async def _ranking(self, query: str, vector: Vector, *, weight: float, depth: int) -> Ranking | FootnoteError:
        request = search_request(self._parts, mode="hybrid", text=query, embedding=vector, limit=depth)
        trail = self._parts.record.trail
        try:
            hits = await self._parts.store.search(request)
            return Ranking(hits if trail is None else trail.above(hits), weight)
        except FootnoteError as error:
            return error


@dataclass(frozen=True, slots=True)
class Ranking:
    """The hits of one search, best first, and its weight."""

    hits: Sequence[Hit]
    weight: float = 1.0


@dataclass(slots=True)
class _Fused:
    hit: Hit
    score: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)

    def add(self, hit: Hit, score: float) -> None:
        self.score += score
        for name in ("dense", "lexical"):
            if name in hit.scores:
                self.scores[name] = max(hit.scores[name], self.scores.get(name, hit.scores[name]))


def fuse(rankings: Sequence[Ranking], *, rrf_k: int) -> list[Hit]:
    """Return the hits of all rankings, best first: each scores the sum of ``weight / (rrf_k + rank)``.

    Their ``dense`` and ``lexical`` scores are the highest of all rankings.
    """
    found: dict[str, _Fused] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking.hits, start=1):
            found.setdefault(hit.node_id, _Fused(hit)).add(hit, ranking.weight / (rrf_k + rank))
    # ties stay in the order of the first ranking, the question's own
    best = sorted(found.values(), key=lambda fused: -fused.score)
    return [replace(fused.hit, score=fused.score, scores={**fused.scores, "fused": fused.score}) for fused in best]


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    return retriever_engine(parts, retriever=FusionRetriever(parts))
