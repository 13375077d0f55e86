"""LlamaIndex retrievers over our store."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Literal, Self

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from embedding.calibration import least_score
from server.engines.llama_index import AsyncRetriever
from server.engines.parts import EngineParts
from server.engines.passages.selection import SelectPassages, deeper, depth_of, selection_of
from server.engines.reranking import wants_reranking
from storage.search.search import SearchRequest, Vector
from storage.vector_store import hit_node


def search_request(
    parts: EngineParts, *, mode: Literal["hybrid", "vector", "keyword"], text: str, embedding: Vector | None, limit: int
) -> SearchRequest:
    """Return the search request for a text, with the question's filters."""
    question = parts.question
    return SearchRequest(
        mode=mode,
        limit=limit,
        embedding=embedding,
        text=text,
        filters=question.filters,
        document_ids=question.document_ids,
        min_score=_least_score(parts) if question.min_score is None else question.min_score,
        full_match_skips_min_score=question.min_score is None,
        explains=parts.record.trail is not None,
    )


def _least_score(parts: EngineParts) -> float:
    chosen = parts.settings.retrieval.min_score
    return least_score(parts.pinned.generation.embedding.model) if chosen is None else chosen


class OwnRetriever(AsyncRetriever):
    """A retriever for one question: it returns the question's `k` passages, reranked if that is wanted.

    Any of LlamaIndex's engines may be built over it. Ours rerank and select among more hits themselves, with
    `unselected`.
    """

    def __init__(self, parts: EngineParts) -> None:
        super().__init__()
        self._parts = parts
        self._selects = True

    def unselected(self) -> Self:
        """Return the same retriever, which returns all hits among which passages are selected."""
        other = copy.copy(self)
        other._selects = False  # noqa: SLF001 (its own class)
        return other

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = await self._hits(query_bundle)
        for postprocessor in selecting(self._parts) if self._selects else ():
            found = await postprocessor.apostprocess_nodes(found, query_bundle)
        return found

    @abstractmethod
    async def _hits(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Return enough hits for `k` passages, best first."""


def selecting(parts: EngineParts) -> list[BaseNodePostprocessor]:
    """Return the postprocessors that select passages among hits, in order."""
    reranking = [parts.reranker.postprocessor(parts)] if parts.reranker and wants_reranking(parts) else []
    return [*reranking, SelectPassages(selection_of(parts), record=parts.record)]


class StoreRetriever(OwnRetriever):
    """Retrieves by vector, by keyword, or by both."""

    def __init__(self, parts: EngineParts, *, mode: Literal["hybrid", "vector", "keyword"]) -> None:
        super().__init__(parts)
        self._mode = mode

    async def _hits(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        turns, record = self._parts.turns, self._parts.record
        if turns is None:
            return await self._searched(query_bundle)
        async with turns.turn(may_refuse=not record.admitted):
            record.admitted = True
            return await self._searched(query_bundle)

    async def _searched(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        parts = self._parts
        embedding: Vector | None = None
        if self._mode != "keyword":
            embedder = parts.pinned.require_embedder()
            with parts.record.stage("embed"):
                embedding = await parts.vectors.of(query_bundle.query_str, embedder=embedder)
        with parts.record.stage("retrieve"):
            depth = depth_of(parts)
            found = await self._found(query_bundle.query_str, embedding, depth=depth)
            while further := await deeper(found, parts, depth=depth):
                depth = further
                found = await self._found(query_bundle.query_str, embedding, depth=depth)
        return found

    async def _found(self, text: str, embedding: Vector | None, *, depth: int) -> list[NodeWithScore]:
        parts = self._parts
        hits = await parts.store.search(
            search_request(parts, mode=self._mode, text=text, embedding=embedding, limit=depth)
        )
        if parts.record.trail is not None:
            hits = parts.record.trail.above(hits)
        parts.record.scores.update({hit.node_id: hit.scores for hit in hits})
        return [NodeWithScore(node=hit_node(hit), score=hit.score) for hit in hits]
