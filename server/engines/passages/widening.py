"""Widening hits to longer passages, with the chunks around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from llama_index.core.schema import NodeWithScore

from server.engines.node_fields import chunk_index_of
from server.engines.parts import EngineParts
from server.engines.passages.hierarchy import common_path
from server.engines.room import FRAME_CHARACTERS, FitContextWindow
from storage.search.neighbours import Span, StoredChunk, Surroundings, joined
from storage.vector_store import make_node


@dataclass(frozen=True, slots=True)
class ChunkRun:
    """Consecutive chunks, and the hits among them, best first. No chunks if they have been deleted meanwhile."""

    chunks: Sequence[StoredChunk]
    hits: Sequence[NodeWithScore]

    def passage(self, parts: EngineParts) -> NodeWithScore:
        """Return it as one passage, with its best hit's id and score, and the headings that all chunks share.

        Its chunks are put into the record.
        """
        best = self.hits[0]
        if len(self.chunks) <= 1:
            return best
        parts.record.chunks[best.node.node_id] = tuple(chunk.index for chunk in self.chunks)
        node = make_node(
            best.node.node_id,
            document_id=best.node.ref_doc_id or "",
            text=joined(self.chunks),
            metadata={**best.node.metadata, "heading": common_path(self.chunks), **pages_of(self.chunks)},
            start=self.chunks[0].start,
            end=self.chunks[-1].end,
        )
        return NodeWithScore(node=node, score=best.score)


def pages_of(chunks: Sequence[StoredChunk]) -> dict[str, int]:
    """Return the pages on which consecutive chunks begin and end; nothing if they have none."""
    pages = {"page": chunks[0].page, "page_end": chunks[-1].page_end}
    return {name: page for name, page in pages.items() if page is not None}


def with_single_chunks(parts: EngineParts) -> EngineParts:
    """Return the parts with `join_neighbours` off, for an engine that joins chunks itself."""
    return replace(parts, question=replace(parts.question, join_neighbours=False))


def length_of(chunks: Sequence[StoredChunk]) -> int:
    """Return the length of consecutive chunks in characters."""
    return chunks[-1].end - chunks[0].start


async def chunks_around(
    parts: EngineParts, nodes: Iterable[NodeWithScore], *, chunks: int, characters: int
) -> list[StoredChunk]:
    """Return the nodes' chunks and those within the given distance on either side that meet the question's filters."""
    spans = [
        Span(
            node.node.ref_doc_id or "",
            first=chunk_index_of(node.node) - chunks,
            last=chunk_index_of(node.node) + chunks,
            start=(getattr(node.node, "start_char_idx", None) or 0) - characters,
            end=(getattr(node.node, "end_char_idx", None) or 0) + characters + 1,
        )
        for node in nodes
    ]
    surroundings = Surroundings(parts.store.client, generation=parts.store.generation)
    with parts.record.stage("retrieve"):
        return await surroundings.around(spans, filters=parts.question.filters)


def ranked(runs: Sequence[ChunkRun], *, hits: Sequence[NodeWithScore], chunks: Iterable[StoredChunk]) -> list[ChunkRun]:
    """Return runs in the order of their best hits; a hit whose chunk was deleted meanwhile is one by itself."""
    places = {hit.node.node_id: place for place, hit in enumerate(hits)}
    read = {chunk.node_id for chunk in chunks}
    alone = [ChunkRun((), [hit]) for hit in hits if hit.node.node_id not in read]
    return sorted([*runs, *alone], key=lambda run: places[run.hits[0].node.node_id])


def share_of(fitting: Sequence[FitContextWindow], nodes: Sequence[NodeWithScore], query: str) -> float:
    """Return how long each passage may become so that all of them fit into the prompt; infinite if no model reads.

    So widening one passage never pushes another one out.
    """
    if not nodes or not fitting:
        return float("inf")
    return min(fit.room(query) for fit in fitting) / len(nodes) - FRAME_CHARACTERS
