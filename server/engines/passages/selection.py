"""Selecting the passages of an answer among the hits, and how many hits that takes."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from server.answers import Outcome
from server.engines.node_fields import chunk_index_of
from server.engines.parts import EngineParts
from server.engines.passages.excerpt import Excerpt, joined
from server.engines.passages.near_duplicates import Wording
from server.engines.record import Record
from server.engines.reranking import wants_reranking
from server.engines.trail import Trail
from storage.nodes import integer

MAX_HITS = 1000
SPARE_HITS = 8
NEAR_DUPLICATE_SHARE = 0.9
"""Fraction of word trigrams shared with a higher-ranked passage from which on a passage counts as a near-duplicate."""

JOINED_CHARACTERS = 3000
"""Longest passage that is made by joining neighbours."""

DEEPER = 4
FEW_HITS = 100  # so few are compared in a few milliseconds
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Selection:
    """How passages are chosen for a question.

    Attributes:
        max_per_document: None: no maximum.
        near_duplicate: see `NEAR_DUPLICATE_SHARE`; None: near-duplicates are kept.
        longest: maximum length of joined neighbours in characters; None: they are not joined.

    """

    k: int
    max_per_document: int | None = None
    near_duplicate: float | None = None
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """A selected passage: its best hit, whose id it has, and its excerpt of the document."""

    best: NodeWithScore
    excerpt: Excerpt


def selection_of(parts: EngineParts) -> Selection:
    """Return how passages are selected: by the question's options, else by the settings."""
    question, settings = parts.question, parts.settings.retrieval
    drops = (question.near_duplicates or settings.near_duplicates) == "drop"
    joins = settings.join_neighbours if question.join_neighbours is None else question.join_neighbours
    return Selection(
        k=question.k,
        max_per_document=question.max_per_document or settings.max_per_document,
        near_duplicate=NEAR_DUPLICATE_SHARE if drops else None,
        longest=JOINED_CHARACTERS if joins else None,
    )


def depth_of(parts: EngineParts) -> int:
    """Return how many hits a retriever fetches at first, so that usually `k` passages are left."""
    selection = selection_of(parts)
    if selection.max_per_document or selection.longest:
        depth = 3 * selection.k + SPARE_HITS
    elif selection.near_duplicate is not None:
        depth = selection.k + selection.k // 2 + SPARE_HITS
    else:
        depth = selection.k
    if wants_reranking(parts):
        depth = max(depth, parts.settings.rerank.candidates)
    return max(selection.k, min(depth, MAX_HITS))


async def deeper(found: Sequence[NodeWithScore], parts: EngineParts, *, depth: int) -> int | None:
    """Return how many hits to fetch instead if too few passages would be left of those found so far.

    That happens if many are near-duplicates, or from a few documents with a maximum. None: enough are left, there are
    no more hits, or the limit is reached.
    """
    if len(found) < depth or depth >= MAX_HITS:
        return None
    selection = selection_of(parts)
    left = await in_thread_if_large(select, found, selection, record=parts.record, hits=len(found))
    parts.record.selected = (tuple(found), selection, left)
    return None if len(left) >= selection.k else min(MAX_HITS, DEEPER * depth)


def select(found: Iterable[NodeWithScore], selection: Selection, *, record: Record) -> list[Selected]:
    """Return at most `k` passages, in the order of their best hits; of near-duplicates, the highest-ranked is kept."""
    trail = record.trail
    shelf = _Shelf(selection, trail=trail)
    if trail is not None:
        trail.begin_selection()
    hits = iter(found)
    for hit in hits:
        if len(shelf.passages) == selection.k:
            if trail is not None:
                for each in (hit, *hits):
                    trail.tell(each.node.node_id, "beyond_k")
            break
        shelf.offer(Selected(hit, excerpt_of(hit, record)))
    return shelf.passages


def excerpt_of(found: NodeWithScore, record: Record) -> Excerpt:
    """Return a node's excerpt of its document."""
    node = found.node
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    start = getattr(node, "start_char_idx", None) or 0
    end = getattr(node, "end_char_idx", None)
    chunks = record.chunks.get(node.node_id) or (chunk_index_of(node),)
    page, page_end = (integer(node.metadata.get(key)) for key in ("page", "page_end"))
    end = start + len(text) if end is None else end
    return Excerpt(node.ref_doc_id or "", start, end, text, chunks, page, page_end)


async def in_thread_if_large(choose: Callable[..., Result], /, *given: Any, hits: int, **further: Any) -> Result:
    """Select among hits; in a thread if they are so many that it would block the event loop."""
    if hits <= FEW_HITS:
        return choose(*given, **further)
    return await asyncio.to_thread(choose, *given, **further)


class SelectPassages(BaseNodePostprocessor):
    """Selects `k` passages: without near-duplicates, with a maximum per document, with neighbours joined.

    Hits and passages are ordered best first. A joined passage has its best hit's id, score and rank; its chunks are in
    the record.
    """

    selection: Selection
    _record: Record = PrivateAttr()

    def __init__(self, selection: Selection, *, record: Record) -> None:
        super().__init__(selection=selection)
        self._record = record

    def _postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,  # noqa: ARG002 (LlamaIndex's)
    ) -> list[NodeWithScore]:
        return [self._node(passage) for passage in self._selected(nodes)]

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return await in_thread_if_large(
            self._postprocess_nodes, nodes, query_bundle, hits=len(nodes)
        )  # LlamaIndex's: always a thread

    def _selected(self, nodes: list[NodeWithScore]) -> Sequence[Selected]:
        """Select, unless the retriever did among the very same hits, to know that they are enough."""
        before, self._record.selected = self._record.selected, None  # nodes take memory
        if before is not None and before[1] == self.selection and _are_same(before[0], nodes):
            return before[2]
        return select(nodes, self.selection, record=self._record)

    def _node(self, passage: Selected) -> NodeWithScore:
        best, excerpt = passage.best, passage.excerpt
        self._record.chunks[best.node.node_id] = excerpt.chunks
        if len(excerpt.chunks) == 1:
            return best
        metadata = best.node.metadata | ({"page_end": excerpt.page_end} if excerpt.page_end else {})
        place = {
            "text": excerpt.text,
            "start_char_idx": excerpt.start,
            "end_char_idx": excerpt.end,
            "metadata": metadata,
        }
        return NodeWithScore(node=best.node.model_copy(update=place), score=best.score)


def _are_same(some: Sequence[NodeWithScore], others: Sequence[NodeWithScore]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


class _Shelf:
    """The passages selected so far: each hit joins one, starts one, or is dropped."""

    def __init__(self, selection: Selection, *, trail: Trail | None = None) -> None:
        self.passages: list[Selected] = []
        self._selection = selection
        self._trail = trail
        self._taken: list[tuple[Excerpt, Wording]] = []
        self._taken_ids: list[str] = []

    def offer(self, passage: Selected) -> None:
        """Take the next hit; they come in order of rank."""
        excerpt, share, wording = passage.excerpt, self._selection.near_duplicate, None
        if share is not None:
            wording = Wording(excerpt.text)
            repeats = (_repeats(*taken, excerpt, wording, share) for taken in self._taken)
            if (repeated := next((place for place, is_so in enumerate(repeats) if is_so), None)) is not None:
                self._tell(passage, "duplicate", self._taken_ids[repeated])
                return
        if not self._join(passage):
            if self._is_full(excerpt.document_id):
                self._tell(passage, "document_cap")
                return
            self.passages.append(passage)
        if wording:
            self._taken.append((excerpt, wording))
            self._taken_ids.append(passage.best.node.node_id)

    def _tell(self, passage: Selected, outcome: Outcome, of: str | None = None) -> None:
        if self._trail is not None:
            self._trail.tell(passage.best.node.node_id, outcome, of)

    def _is_full(self, document_id: str) -> bool:
        cap = self._selection.max_per_document
        of_it = sum(passage.excerpt.document_id == document_id for passage in self.passages)
        return bool(cap and document_id) and of_it >= (cap or 0)

    def _join(self, passage: Selected) -> bool:
        if not self._selection.longest:
            return False
        for place, kept in enumerate(self.passages):
            if whole := joined(kept.excerpt, passage.excerpt, longest=self._selection.longest):
                self.passages[place] = Selected(kept.best, whole)
                self._tell(passage, "joined", kept.best.node.node_id)
                self._close_gap(place, self._selection.longest)
                return True
        return False

    def _close_gap(self, place: int, longest: int) -> None:
        """Join a passage that has grown with a lower-ranked one that is its neighbour now."""
        grown = self.passages[place]
        for below in range(place + 1, len(self.passages)):
            if whole := joined(grown.excerpt, self.passages[below].excerpt, longest=longest):
                self.passages[place] = Selected(grown.best, whole)
                self._tell(self.passages[below], "joined", grown.best.node.node_id)
                del self.passages[below]
                return


def _repeats(taken: Excerpt, taken_wording: Wording, excerpt: Excerpt, wording: Wording, share: float) -> bool:
    """Whether a passage is a near-duplicate; the overlap of consecutive chunks does not count."""
    if taken.overlaps(excerpt) and not taken.holds(excerpt):
        return False
    return wording.is_repeated_by(taken_wording, share=share)
