"""A LlamaIndex retriever over our store, and the bound on what goes into a prompt."""

from __future__ import annotations

from typing import Literal

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.llama_index import AsyncRetriever
from server.engines.parts import EngineParts
from server.engines.passages.selection import deeper, depth_of
from storage.search.search import SearchRequest, Vector
from storage.vector_store import hit_node

CHARACTERS_A_TOKEN = 3.0  # fewer than any tokenizer needs for prose, so that a prompt never overflows
PROMPT_TOKENS = 400  # instructions, question and the frame around the passages
FRAME_CHARACTERS = 100  # number and place of a passage


def search_request(
    parts: EngineParts, *, mode: Literal["hybrid", "vector", "keyword"], text: str, embedding: Vector | None, limit: int
) -> SearchRequest:
    """Return a search for a text within all that the question asks for."""
    question = parts.question
    return SearchRequest(
        mode=mode,
        limit=limit,
        embedding=embedding,
        text=text,
        filters=question.filters,
        document_ids=question.document_ids,
        min_score=parts.settings.retrieval.min_score if question.min_score is None else question.min_score,
        spares_words=question.min_score is None,
    )


class StoreRetriever(AsyncRetriever):
    """Finds passages by vector, by words, or by both."""

    def __init__(self, parts: EngineParts, *, mode: Literal["hybrid", "vector", "keyword"]) -> None:
        super().__init__()
        self._parts = parts
        self._mode = mode

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
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


class FitContextWindow(BaseNodePostprocessor):
    """Drops the last passages where all of them would overflow the model's context window.

    It runs before the sources are shown, so that the citations are just what the model reads. `reserved` tokens of the
    window are for the answer and the conversation; the prompt holds the `message`, of so many characters, where the
    passages were found by something shorter.
    """

    context_window: int
    reserved: int
    message: int = 0

    def room(self, query: str) -> float:
        """Return how many characters of passages go into the prompt, with what frames each; it may be none."""
        question = max(self.message, len(query))
        return (self.context_window - self.reserved - PROMPT_TOKENS) * CHARACTERS_A_TOKEN - question

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        room = self.room(query_bundle.query_str if query_bundle else "")
        kept: list[NodeWithScore] = []
        for node in nodes:
            room -= len(node.node.get_content()) + FRAME_CHARACTERS
            if room < 0 and kept:  # one passage is always given; the provider says if even that is too much
                break
            kept.append(node)
        return kept

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return self._postprocess_nodes(nodes, query_bundle)  # LlamaIndex's own starts a thread for it
