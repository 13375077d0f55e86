"""A LlamaIndex retriever over our store."""

from __future__ import annotations

from typing import Literal

from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.llama_index import AsyncRetriever
from server.engines.parts import EngineParts
from server.engines.passages.selection import deeper, depth_of
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
        min_score=parts.settings.retrieval.min_score if question.min_score is None else question.min_score,
        full_match_skips_min_score=question.min_score is None,
    )


class StoreRetriever(AsyncRetriever):
    """Retrieves by vector, by keyword, or by both."""

    def __init__(self, parts: EngineParts, *, mode: Literal["hybrid", "vector", "keyword"]) -> None:
        super().__init__()
        self._parts = parts
        self._mode = mode

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
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
        parts.record.scores.update({hit.node_id: hit.scores for hit in hits})
        return [NodeWithScore(node=hit_node(hit), score=hit.score) for hit in hits]
