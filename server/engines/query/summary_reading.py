"""Choosing the documents to read, and splitting them into passages and model calls, within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.abilities import conversational
from server.engines.assembly import fitting
from server.engines.llama_index import AsyncRetriever
from server.engines.models.estimates import CHARACTERS_A_TOKEN
from server.engines.parts import EngineParts
from server.engines.passages.hierarchy import common_path
from server.engines.passages.widening import pages_of
from server.engines.retrieval import StoreRetriever
from server.engines.room import FRAME_CHARACTERS
from server.engines.writing.citations import without_markers
from storage.search.neighbours import Extent, StoredChunk, Surroundings, follows, joined, runs_of
from storage.vector_store import make_node

LEAST_ROOM = 1500  # characters of a call, however small the model's window
LEAST_PASSAGE = 1500  # characters, where a document is that long
UNREAD_SHARE = 0.3  # fraction of the best document's score below which documents are not read
EXTRACTIVE_CHARACTERS = 200_000  # that are read of documents where no model reads them
FULL = 0.8  # fraction of the room that is used: passages end with a whole chunk, and calls with a whole passage


@dataclass(frozen=True, slots=True)
class Bounds:
    """Reading limits for one question.

    Attributes:
        passages: at the most.
        room: characters that one call of the model reads.
        characters: of all documents.
        calls: for reading; None where no model reads.

    """

    passages: int
    room: float
    characters: int
    calls: int | None


@dataclass(slots=True)
class Shortfall:
    """A sentence for each document that was not read completely, for the end of the answer."""

    sentences: list[str]


class WholeDocuments(AsyncRetriever):
    """Finds documents, and returns all of each, in order, as passages of several chunks.

    The documents are those that the question names, else those with the best hits. Filters hold for each chunk.
    """

    def __init__(self, parts: EngineParts, *, shortfall: Shortfall) -> None:
        super().__init__()
        self._parts = parts
        self._shortfall = shortfall

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        bounds = bounds_of(self._parts, query_bundle.query_str)
        surroundings = Surroundings(self._parts.store.client, generation=self._parts.store.generation)
        chosen = await self._chosen(query_bundle)
        with self._parts.record.stage("retrieve"):
            extents = await surroundings.extents(chosen)
            documents = [extents[document_id] for document_id in chosen if document_id in extents]
            nodes: list[NodeWithScore] = []
            wanted: dict[str, int] = {extent.document_id: extent.characters for extent in documents}
            for extent, passages, characters in shares(documents[: bounds.passages], bounds):
                chunks = await surroundings.beginning(
                    extent.document_id, characters=characters, filters=self._parts.question.filters
                )
                nodes += self._nodes(cut(chunks, passages, longest=bounds.room))
                if characters >= extent.characters:  # a filter may exclude its end, which then counts as read
                    wanted[extent.document_id] = chunks[-1].end if chunks else 0
        read = _within_calls(nodes, bounds)
        self._tell(wanted, read)
        return read

    async def _chosen(self, query: QueryBundle) -> list[str]:
        named = self._parts.question.document_ids
        if named is not None:
            return list(dict.fromkeys(named))
        hits = await StoreRetriever(self._parts, mode="hybrid").unselected().aretrieve(query)
        return best_documents(hits, most=self._parts.settings.engines.summary_documents)

    def _nodes(self, groups: Sequence[Sequence[StoredChunk]]) -> list[NodeWithScore]:
        return [self._node(group, after=before) for before, group in pairwise([None, *groups]) if group]

    def _node(self, chunks: Sequence[StoredChunk], *, after: Sequence[StoredChunk] | None) -> NodeWithScore:
        """Return a group as a passage, without its first chunk's overlap with the group before."""
        first = chunks[0]
        repeated = max(0, after[-1].end - first.start) if after and follows(after[-1], first) else 0
        self._parts.record.chunks[first.node_id] = tuple(chunk.index for chunk in chunks)
        place = {"chunk_index": first.index, "heading": common_path(chunks)}
        node = make_node(
            first.node_id,
            document_id=first.document_id,
            text=joined(chunks)[repeated:],
            metadata={**first.metadata, **place, **pages_of(chunks)},
            start=first.start + repeated,
            end=chunks[-1].end,
        )
        return NodeWithScore(node=node, score=None)

    def _tell(self, wanted: Mapping[str, int], read: Sequence[NodeWithScore]) -> None:
        """Record where reading stopped; `wanted` is the end, in characters, of what should have been read of each."""
        ends = {node.node.ref_doc_id or "": node.node for node in read}  # the last passage of each
        for document_id, end in wanted.items():
            last = ends.get(document_id)
            source = without_markers(str(last.metadata.get("source", "")) if last else f"document {document_id}")
            stopped = getattr(last, "end_char_idx", None) or 0
            if end and not last:
                self._shortfall.sentences.append(f"{source} was not read.")
            elif stopped < end:
                self._shortfall.sentences.append(f"Of {source} the first {stopped} of {end} characters were read.")
        self._parts.record.notes += self._shortfall.sentences


def bounds_of(parts: EngineParts, query: str) -> Bounds:
    """Return the limits that follow from the settings and the model's context window."""
    settings = parts.settings.engines
    if conversational(parts.model) is None:
        return Bounds(parts.question.k, EXTRACTIVE_CHARACTERS, EXTRACTIVE_CHARACTERS, None)
    longest = int(settings.summary_tokens * CHARACTERS_A_TOKEN)
    if parts.retrieves_only:
        return Bounds(parts.question.k, longest, longest, None)
    room = max(LEAST_ROOM, min(fit.room(query) for fit in fitting(parts)))
    most = min(parts.question.k, settings.summary_calls) * room * FULL
    return Bounds(parts.question.k, room, int(min(longest, most)), settings.summary_calls)


def best_documents(hits: Iterable[NodeWithScore], *, most: int) -> list[str]:
    """Return the documents with the best hits: each scores the sum of 1/rank; far lower scores are dropped."""
    scores: dict[str, float] = {}
    for rank, hit in enumerate(hits, start=1):
        document_id = hit.node.ref_doc_id or ""
        scores[document_id] = scores.get(document_id, 0.0) + 1 / rank
    best = sorted(scores, key=lambda document_id: -scores[document_id])
    return [document_id for document_id in best[:most] if scores[document_id] >= UNREAD_SHARE * scores[best[0]]]


def shares(documents: Sequence[Extent], bounds: Bounds) -> list[tuple[Extent, int, int]]:
    """Return how many passages and characters of each document are read; the next ones get what a short one leaves."""
    left, given = bounds.characters, list[int]()
    for place, extent in enumerate(documents):
        given.append(min(extent.characters, left // (len(documents) - place)))
        left -= given[-1]
    passages = [1] * len(documents)
    while sum(passages) < bounds.passages:
        longest = max(range(len(documents)), key=lambda place: given[place] / passages[place], default=None)
        if longest is None or given[longest] / (passages[longest] + 1) < LEAST_PASSAGE:
            break
        passages[longest] += 1
    return list(zip(documents, passages, given, strict=True))


def cut(chunks: Sequence[StoredChunk], passages: int, *, longest: float) -> list[list[StoredChunk]]:
    """Split a document's chunks into some `passages` groups of similar length; more if chunks between are missing."""
    if not chunks:
        return []
    start, length = chunks[0].start, max(1, chunks[-1].end - chunks[0].start)
    size = min(ceil(length / passages), longest)
    groups: list[list[StoredChunk]] = []
    for run in runs_of(chunks):
        number = -1
        for chunk in run:
            place = int((chunk.start - start) / size)
            if place != number:
                groups.append([])
                number = place
            groups[-1].append(chunk)
    return groups


def calls_of(lengths: Sequence[int], room: float) -> list[range]:
    """Return the passages of each call: as many consecutive ones as fit, at least one."""
    calls: list[range] = []
    used = 0.0
    for place, length in enumerate(lengths):
        used += length + FRAME_CHARACTERS
        if calls and used <= room:
            calls[-1] = range(calls[-1].start, place + 1)
        else:
            calls.append(range(place, place + 1))
            used = length + FRAME_CHARACTERS
    return calls


def _within_calls(nodes: Sequence[NodeWithScore], bounds: Bounds) -> list[NodeWithScore]:
    kept = list(nodes[: bounds.passages])
    if bounds.calls is None:
        return kept
    calls = calls_of([len(node.node.get_content()) for node in kept], bounds.room)[: bounds.calls]
    return kept[: calls[-1].stop] if calls else []
