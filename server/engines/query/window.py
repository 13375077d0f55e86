"""Window: a chunk is found by its own text, and returned with its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.assembly import fitting, retriever_engine
from server.engines.llama_index import AsyncPostprocessor
from server.engines.parts import EngineParts
from server.engines.passages.widening import ChunkRun, chunks_around, length_of, ranked, share_of, with_single_chunks
from server.engines.retrieval import StoreRetriever
from storage.search.neighbours import StoredChunk, runs_of

WINDOW_CHARACTERS = 2000
"""Of whole chunks on either side of a hit, at most."""


class Windows(AsyncPostprocessor):
    """Adds each hit's neighbours in the document, and merges windows that touch.

    LlamaIndex's `SentenceWindowNodeParser` stores a window with each sentence, for `MetadataReplacementPostProcessor`
    to show; here the neighbours are read from the chunk table, so that nothing is stored twice, and the width can
    be changed without indexing again.
    """

    _parts: EngineParts = PrivateAttr()

    def __init__(self, parts: EngineParts) -> None:
        super().__init__()
        self._parts = parts

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        settings = self._parts.settings.engines
        if not nodes or not settings.window_chunks:
            return nodes
        share = share_of(fitting(self._parts), nodes, query_bundle.query_str if query_bundle else "")
        chunks = await chunks_around(self._parts, nodes, chunks=settings.window_chunks, characters=WINDOW_CHARACTERS)
        windows = windows_of(nodes, chunks, most=settings.window_chunks, characters=WINDOW_CHARACTERS, longest=share)
        return [window.passage(self._parts) for window in windows]


def windows_of(
    hits: Sequence[NodeWithScore], chunks: Sequence[StoredChunk], *, most: int, characters: int, longest: float
) -> list[ChunkRun]:
    """Return the hits with at most `most` chunks and `characters` on either side; windows that touch are merged.

    They are in the order of their best hits. A hit whose chunk was deleted meanwhile stays as it is.
    """
    places = {hit.node.node_id: place for place, hit in enumerate(hits)}
    windows: list[ChunkRun] = []
    for run in runs_of(chunks):
        found = [index for index, chunk in enumerate(run) if chunk.node_id in places]
        spans = [_span(run, index, most=most, characters=characters, longest=longest) for index in found]
        for first, last in _merged(spans):
            inside = [places[chunk.node_id] for chunk in run[first : last + 1] if chunk.node_id in places]
            windows.append(ChunkRun(run[first : last + 1], [hits[place] for place in sorted(inside)]))
    return ranked(windows, hits=hits, chunks=chunks)


def _span(run: Sequence[StoredChunk], hit: int, *, most: int, characters: int, longest: float) -> tuple[int, int]:
    """Return the first and the last chunk of a hit's window, which grows on both sides in turn while there is room."""
    first = last = hit
    least, end = run[hit].start - characters, run[hit].end + characters
    for _ in range(most):
        if first > 0 and run[first - 1].start >= least and length_of(run[first - 1 : last + 1]) <= longest:
            first -= 1
        if last + 1 < len(run) and run[last + 1].end <= end and length_of(run[first : last + 2]) <= longest:
            last += 1
    return first, last


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in spans:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    parts = with_single_chunks(parts)
    return retriever_engine(parts, retriever=StoreRetriever(parts, mode="hybrid"), widened=[Windows(parts)])
