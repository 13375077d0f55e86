"""Auto-merging: if enough chunks of a section, or of a small document, were found, the whole of it is returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.assembly import fitting, retriever_engine
from server.engines.llama_index import AsyncPostprocessor
from server.engines.parts import EngineParts
from server.engines.passages.hierarchy import MergingRule, merge
from server.engines.passages.widening import ChunkRun, chunks_around, ranked, with_single_chunks
from server.engines.retrieval import StoreRetriever
from server.engines.room import FRAME_CHARACTERS
from storage.search.neighbours import Extent, StoredChunk, Surroundings, runs_of

GROUP_CHUNKS = 4  # per group if a document has neither headings nor pages
REACH = 100  # chunks read on either side of a hit
ROOM_SHARE = 0.5  # fraction of the prompt's room for passages that one merged section may take


class Merging(AsyncPostprocessor):
    """Replaces passages by their parent if enough of the parent's children were found.

    LlamaIndex's `AutoMergingRetriever` needs the parents stored as nodes, and reads them from its docstore on the event
    loop. Here they are built from the chunk table (`hierarchy`).
    """

    _parts: EngineParts = PrivateAttr()

    def __init__(self, parts: EngineParts) -> None:
        super().__init__()
        self._parts = parts

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return nodes
        rule = self._rule(query_bundle.query_str if query_bundle else "")
        chunks = await chunks_around(self._parts, nodes, chunks=REACH, characters=int(rule.longest))
        surroundings = Surroundings(self._parts.store.client, generation=self._parts.store.generation)
        extents = await surroundings.extents(sorted({chunk.document_id for chunk in chunks}))
        parts = merged(nodes, chunks, extents=extents, rule=rule)
        return [part.passage(self._parts) for part in parts]

    def _rule(self, query: str) -> MergingRule:
        settings = self._parts.settings.engines
        room = min((fit.room(query) * ROOM_SHARE - FRAME_CHARACTERS for fit in fitting(self._parts)), default=None)
        longest = settings.merging_characters if room is None else min(room, settings.merging_characters)
        return MergingRule(settings.merging_ratio, longest=max(0.0, longest), group=GROUP_CHUNKS)


def merged(
    hits: Sequence[NodeWithScore],
    chunks: Sequence[StoredChunk],
    *,
    extents: Mapping[str, Extent],
    rule: MergingRule,
) -> list[ChunkRun]:
    """Return the hits, or the parents that replace them, in the order of their best hits; `chunks` surround them."""
    places = {hit.node.node_id: place for place, hit in enumerate(hits)}
    found: list[ChunkRun] = []
    for run in runs_of(chunks):
        inside = {index for index, chunk in enumerate(run) if chunk.node_id in places}
        extent = extents.get(run[0].document_id)
        for first, last in merge(run, inside, of=extent.chunks if extent else -1, rule=rule):
            part = run[first : last + 1]
            best = sorted(places[chunk.node_id] for chunk in part if chunk.node_id in places)
            found.append(ChunkRun(part, [hits[place] for place in best]))
    return ranked(found, hits=hits, chunks=chunks)


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    parts = with_single_chunks(parts)
    return retriever_engine(parts, retriever=StoreRetriever(parts, mode="hybrid"), widened=[Merging(parts)])
