"""Why these passages: what became of everything that was found for a question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from llama_index.core.schema import NodeWithScore

from server.answers import Candidate, Citation, Explanation, Outcome
from server.services.cited import citations_of
from storage.vector_store import hit_node

if TYPE_CHECKING:
    from server.engines.record import Record
    from server.engines.trail import Trail
    from storage.search.search import Hit

MOST = 200
"""Candidates that are listed."""


def explanation_of(record: Record, citations: Sequence[Citation]) -> Explanation | None:
    """Return why an answer has these passages; None where nobody asked."""
    trail = record.trail
    if trail is None:
        return None
    given = {each.node_id: each.id for each in citations}
    first = [_candidate(each, "given", each.id, trail) for each in citations]
    others = [hit for node_id, hit in trail.hits.items() if node_id not in given]
    others.sort(key=lambda hit: hit.is_below)  # a stable sort: the rest is in the order in which it was found
    listed = [_dropped(hit, trail, record, given, citations) for hit in others[:MOST]]
    return Explanation((*first, *listed), omitted=len(others) - len(listed))


def _dropped(
    hit: Hit, trail: Trail, record: Record, given: Mapping[str, int], citations: Sequence[Citation]
) -> Candidate:
    (told,) = citations_of([NodeWithScore(node=hit_node(hit), score=hit.score)], record)
    if hit.is_below:
        return _candidate(told, "below_min_score", None, trail, scores=hit.scores)
    within = next((each.id for each in citations if _holds(each, hit)), None)
    outcome, citation = _fate(hit.node_id, trail, given)
    if outcome in {"joined", "left_out"} and within is not None:  # engines that widen passages join without telling
        return _candidate(told, "joined", within, trail)
    return _candidate(told, outcome, citation, trail)


def _fate(node_id: str, trail: Trail, given: Mapping[str, int]) -> tuple[Outcome, int | None]:
    """Return what became of a chunk, and the passage behind it: where that one was joined to another, that other."""
    step = trail.steps.get(node_id)
    if step is None:
        return "left_out", None
    passages = list(_followed(step.passage, trail))
    last = trail.steps.get(passages[-1]) if passages else None
    if step.outcome == "joined" and last is not None:
        return last.outcome, None  # the passage that it was part of was dropped itself
    return step.outcome, next((given[each] for each in passages if each in given), None)


def _followed(node_id: str | None, trail: Trail) -> Iterator[str]:
    """Yield a passage, the one that it was joined to, and so on."""
    seen: set[str] = set()
    while node_id is not None and node_id not in seen:
        seen.add(node_id)
        yield node_id
        step = trail.steps.get(node_id)
        node_id = step.passage if step is not None else None


def _holds(citation: Citation, hit: Hit) -> bool:
    return citation.document_id == hit.document_id and hit.chunk_index in citation.chunks


def _candidate(
    told: Citation,
    outcome: Outcome,
    citation: int | None,
    trail: Trail,
    *,
    scores: Mapping[str, float] | None = None,
) -> Candidate:
    return Candidate(
        outcome=outcome,
        citation=citation,
        document_id=told.document_id,
        source=told.source,
        title=told.title,
        heading=told.heading,
        page=told.page,
        chunk_index=told.chunk_index,
        start=told.start,
        end=told.end,
        score=told.score,
        scores=told.scores if scores is None else scores,
        ranks=trail.ranks_of(told.node_id),
    )
