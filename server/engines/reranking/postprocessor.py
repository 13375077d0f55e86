"""Reranking as LlamaIndex node postprocessors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle

from server.answers import Reranked
from server.engines.llama_index import AsyncPostprocessor

if TYPE_CHECKING:
    from server.engines.record import Record

Score = Callable[[str, Sequence[str]], Awaitable[Sequence[float | None]]]
"""Returns the scores of passages for a question; None: not ranked."""

Rank = Callable[[list[NodeWithScore], QueryBundle], Awaitable[tuple[list[NodeWithScore], Reranked]]]
"""Returns the passages in their new order, or unchanged, and the outcome."""


class Reranking(AsyncPostprocessor):
    """Reranks passages, or leaves them in their order, and records the outcome.

    The first `most` are ranked; the others follow in their original order, with the lowest score.
    """

    most: int
    _rank: Rank = PrivateAttr()
    _model: str = PrivateAttr()
    _record: Record = PrivateAttr()

    def __init__(self, rank: Rank, *, model: str, record: Record, most: int) -> None:
        super().__init__(most=most)
        self._rank = rank
        self._model = model
        self._record = record

    @classmethod
    def class_name(cls) -> str:
        """Return LlamaIndex's name for the class."""
        return "Reranking"

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        first: dict[str, NodeWithScore] = {}
        for each in nodes:
            first.setdefault(each.node.node_id, each)
        found, rest = list(first.values())[: self.most], list(first.values())[self.most :]
        if not found or query_bundle is None:
            nothing = Reranked(applied=False, model=self._model, candidates=0, reason="no-passages")
            self._record.add_reranking(nothing)
            return nodes
        with self._record.stage("rerank"):
            ranked, done = await self._rank(found, query_bundle)
        self._record.add_reranking(done)
        return [*self._noted(ranked), *_below(rest, ranked[-1].score)] if done.applied else nodes

    def _noted(self, ranked: list[NodeWithScore]) -> list[NodeWithScore]:
        scores = self._record.scores
        for each in ranked:
            scores[each.node.node_id] = {**scores.get(each.node.node_id, {}), "rerank": float(each.score or 0.0)}
        if self._record.trail is not None:
            self._record.trail.reranked(each.node.node_id for each in ranked)
        return ranked


class ScoredRanking(AsyncPostprocessor):
    """Ranks passages by the scores that a function returns."""

    _score: Score = PrivateAttr()

    def __init__(self, score: Score) -> None:
        super().__init__()
        self._score = score

    @classmethod
    def class_name(cls) -> str:
        """Return LlamaIndex's name for the class."""
        return "ScoredRanking"

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        question = query_bundle.query_str if query_bundle else ""
        scores = await self._score(question, [shown(each.node) for each in nodes])
        ranked = [
            NodeWithScore(node=each.node, score=score)
            for each, score in zip(nodes, scores, strict=True)
            if score is not None
        ]
        return sorted(ranked, key=lambda each: -(each.score or 0.0))


def shown(node: BaseNode) -> str:
    """Return a passage's text for a reranker, preceded by its heading."""
    place = node.metadata.get("heading") or node.metadata.get("title") or ""
    text = node.get_content(MetadataMode.NONE)
    return f"{place}\n{text}" if place else text


def _below(rest: Sequence[NodeWithScore], score: float | None) -> list[NodeWithScore]:
    return [NodeWithScore(node=each.node, score=score) for each in rest]
