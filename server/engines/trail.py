"""What became of every chunk that was found for a question, where the request asks for an explanation.

Nothing is recorded of documents that whoever asks may not read: the search does not return them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.answers import Outcome
    from storage.search.search import Hit


@dataclass(frozen=True, slots=True)
class Step:
    """Why a chunk is no passage of its own; `passage`: id of the node that it is part of, or repeats."""

    outcome: Outcome
    passage: str | None = None


@dataclass(slots=True)
class Trail:
    """Collects hits and what became of them; the latest word on a chunk counts.

    Attributes:
        hits: by node id, best first.
        steps: by node id, of those that were dropped or joined.

    """

    hits: dict[str, Hit] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    reranks: dict[str, int] = field(default_factory=dict)

    def above(self, found: Sequence[Hit]) -> list[Hit]:
        """Take the hits of a search; return those that are not below the bar."""
        for hit in found:
            known = self.hits.get(hit.node_id)
            if known is None or known.is_below:  # several searches: the first, the question's own, is told of
                self.hits[hit.node_id] = hit
        return [hit for hit in found if not hit.is_below]

    def fused(self, hits: Iterable[Hit]) -> None:
        """Take hits as they are ranked over several searches."""
        for rank, hit in enumerate(hits, start=1):
            known = self.hits.get(hit.node_id, hit)
            self.hits[hit.node_id] = replace(known, score=hit.score, ranks={**known.ranks, "fused": rank})

    def reranked(self, node_ids: Iterable[str]) -> None:
        """Take the reranker's order."""
        self.reranks = {node_id: rank for rank, node_id in enumerate(node_ids, start=1)}

    def begin_selection(self) -> None:
        """Forget an earlier selection, which the one that begins takes the place of."""
        self.steps.clear()

    def tell(self, node_id: str, outcome: Outcome, passage: str | None = None) -> None:
        """Say what became of a chunk."""
        self.steps[node_id] = Step(outcome, passage)

    def ranks_of(self, node_id: str) -> dict[str, int]:
        """Return a chunk's ranks by leg."""
        hit = self.hits.get(node_id)
        ranks = dict(hit.ranks) if hit else {}
        return ranks | ({"rerank": self.reranks[node_id]} if node_id in self.reranks else {})
