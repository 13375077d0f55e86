"""The quality gate: compares retrieval of two generations on golden questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from config.extras import require_extra
from ingestion.errors import CommandRefused
from relevance import reading
from relevance.errors import InvalidGolden
from relevance.golden import GoldenQuestion
from relevance.judging import FoundPassage, Ranking, document_ranking
from relevance.lines import WANTED
from relevance.metrics import mean, ranking_scores
from storage.search.filters import FilterGroup
from storage.search.search import ChunkSearch, SearchRequest

if TYPE_CHECKING:
    from config.settings import GateSettings, Settings
    from embedding.embedder import Embedder
    from storage.database import Database
    from storage.generation import Generation

__all__ = ["Gate", "GoldenQuestion", "InvalidGate", "Quality", "Verdict", "read_golden"]
PASSAGES_A_DOCUMENT = 4  # one document may give several passages: search more to find `k` documents
MOST_PASSAGES = 1000


class InvalidGate(CommandRefused):
    """A file of golden questions is invalid; the message names the line."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Retrieval metrics of a generation: means over the questions, 0..1."""

    recall: float
    mrr: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's result for a new generation.

    Attributes:
        reason: why it failed; None if it passed.

    """

    questions: int
    k: int
    old: Quality
    new: Quality
    reason: str | None

    def as_json(self) -> dict[str, object]:
        """Return it for machines."""
        return {
            "questions": self.questions,
            "k": self.k,
            "old": {"recall": round(self.old.recall, 4), "mrr": round(self.old.mrr, 4)},
            "new": {"recall": round(self.new.recall, 4), "mrr": round(self.new.mrr, 4)},
            "passed": self.reason is None,
            "reason": self.reason,
        }

    def as_text(self) -> str:
        """Return it for people."""
        return (
            f"gate, {self.questions} questions: recall@{self.k} {self.old.recall:.3f} -> {self.new.recall:.3f}, "
            f"MRR {self.old.mrr:.3f} -> {self.new.mrr:.3f}: {self.reason or 'passed'}"
        )


def read_golden(path: Path) -> list[GoldenQuestion]:
    """Read golden questions that name documents; unanswerable ones are left out.

    Raises:
        InvalidGate: the file cannot be read, or a line is not a golden question that names documents.
        ExtraMissing: metrics cannot be computed here.

    """
    require_extra("evaluation", purpose="--gate")
    try:
        golden = reading.read_golden(path)
    except InvalidGolden as exc:
        msg = f"--gate {exc}"
        raise InvalidGate(msg) from exc
    asked = [question for question in golden.questions if not question.unanswerable]
    for question in asked:
        _require_use(question, path)
    if not asked:
        msg = f"--gate {path}: it holds 0 questions that have an answer; one at least is wanted"
        raise InvalidGate(msg)
    return asked


class Gate:
    """Compares generations by golden questions."""

    def __init__(self, database: Database, *, settings: Settings, golden: Sequence[GoldenQuestion]) -> None:
        self._database = database
        self._settings = settings
        self._golden = golden

    async def compare(
        self, old: Generation, new: Generation, *, embedders: tuple[Embedder | None, Embedder]
    ) -> Verdict:
        """Search both generations for every question; without its model the old one is searched by keywords only."""
        before = await self.quality(old, embedder=embedders[0])
        after = await self.quality(new, embedder=embedders[1])
        gate = self._settings.gate
        return Verdict(len(self._golden), gate.k, before, after, reason=_reason(before, after, gate))

    async def quality(self, generation: Generation, *, embedder: Embedder | None) -> Quality:
        """Search a generation for every question."""
        k = self._settings.gate.k
        search = ChunkSearch(self._database, generation=generation, settings=self._settings.retrieval)
        scores = ranking_scores([await self._found(search, golden, embedder) for golden in self._golden], k=k)
        return Quality(mean([each[f"recall@{k}"] for each in scores]), mean([each[f"mrr@{k}"] for each in scores]))

    async def _found(self, search: ChunkSearch, golden: GoldenQuestion, embedder: Embedder | None) -> Ranking:
        """Return the documents found, best first."""
        k = self._settings.gate.k
        request = SearchRequest(
            mode="hybrid" if embedder else "keyword",
            limit=k * PASSAGES_A_DOCUMENT,
            embedding=await embedder.query(golden.question) if embedder else None,
            text=golden.question,
            filters=FilterGroup.model_validate(golden.filters) if golden.filters else None,
        )
        hits = await search.search(request)
        while len({hit.document_id for hit in hits}) < k and len(hits) == request.limit < MOST_PASSAGES:
            request = replace(request, limit=min(MOST_PASSAGES, PASSAGES_A_DOCUMENT * request.limit))
            hits = await search.search(request)
        found = [
            FoundPassage(hit.document_id, str(hit.metadata.get("source")), hit.start, hit.end, hit.text) for hit in hits
        ]
        ranked = document_ranking(golden, found)
        assert ranked is not None  # noqa: S101 (`read_golden` wants documents)
        return ranked


def _require_use(question: GoldenQuestion, path: Path) -> None:
    if not question.named_documents:
        msg = f"--gate {path}, line {question.line}: it names no documents; {WANTED} is wanted"
        raise InvalidGate(msg)
    try:
        FilterGroup.model_validate(question.filters or {"filters": []})
    except ValidationError as exc:
        msg = f'--gate {path}, line {question.line}: "filters" cannot be read; they must be as in the API'
        raise InvalidGate(msg) from exc


def _reason(old: Quality, new: Quality, gate: GateSettings) -> str | None:
    if new.recall < gate.min_recall:
        return f"recall@{gate.k} is below {gate.min_recall:g}"
    if new.recall < old.recall - gate.recall_loss:
        return f"recall@{gate.k} fell by more than {gate.recall_loss:g}"
    if new.mrr < old.mrr - gate.mrr_loss:
        return f"MRR fell by more than {gate.mrr_loss:g}"
    return None
