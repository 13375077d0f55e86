"""Whether a new generation finds what the old one found: questions whose right documents are known.

Recall@k and the reciprocal rank are LlamaIndex's (``llama_index.core.evaluation.retrieval.metrics``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.errors import CommandRefused
from storage.search import ChunkSearch, SearchRequest

if TYPE_CHECKING:
    from config.settings import GateSettings, Settings
    from ingestion.embedding import Embedder
    from storage.collections import Generation
    from storage.database import Database

PASSAGES_A_DOCUMENT = 4  # searched for, so that `k` documents are found though one gives several passages
MOST_QUESTIONS = 100_000


class InvalidGate(CommandRefused):
    """A file of questions cannot be used; the message names the line."""


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question and the documents that answer it, by id or by source."""

    question: str
    documents: frozenset[str]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a generation finds: means over the questions, 0..1."""

    recall: float
    mrr: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of a new generation.

    Attributes:
        reason: why it fails, for people; None where it passes.

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
    """Read questions, a JSON object a line: ``{"question": …, "documents": [id or source, …]}``.

    Raises:
        InvalidGate: the file cannot be read, or a line is not such an object.

    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"--gate {path}: it cannot be read as UTF-8 text ({type(exc).__name__})"
        raise InvalidGate(msg) from exc
    golden = [_question(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]
    if not golden or len(golden) > MOST_QUESTIONS:
        msg = f"--gate {path}: it holds {len(golden)} questions; 1 to {MOST_QUESTIONS} are wanted"
        raise InvalidGate(msg)
    return golden


class Gate:
    """Compares generations by golden questions."""

    def __init__(self, database: Database, *, settings: Settings, golden: Sequence[GoldenQuestion]) -> None:
        self._database = database
        self._settings = settings
        self._golden = golden

    async def compare(
        self, old: Generation, new: Generation, *, embedders: tuple[Embedder | None, Embedder]
    ) -> Verdict:
        """Ask both generations every question; an old one whose model is not at hand is searched by words alone."""
        before = await self.quality(old, embedder=embedders[0])
        after = await self.quality(new, embedder=embedders[1])
        gate = self._settings.gate
        return Verdict(len(self._golden), gate.k, before, after, reason=_reason(before, after, gate))

    async def quality(self, generation: Generation, *, embedder: Embedder | None) -> Quality:
        """Ask a generation every question."""
        from llama_index.core.evaluation.retrieval.metrics import MRR, Recall

        search = ChunkSearch(self._database, generation=generation, settings=self._settings.retrieval)
        recall, mrr = Recall(), MRR()
        recalls: list[float] = []
        ranks: list[float] = []
        for golden in self._golden:
            found = await self._found(search, golden, embedder)
            wanted = sorted(golden.documents)
            recalls.append(recall.compute(expected_ids=wanted, retrieved_ids=found).score if found else 0.0)
            ranks.append(mrr.compute(expected_ids=wanted, retrieved_ids=found).score if found else 0.0)
        await asyncio.sleep(0)
        return Quality(sum(recalls) / len(recalls), sum(ranks) / len(ranks))

    async def _found(self, search: ChunkSearch, golden: GoldenQuestion, embedder: Embedder | None) -> list[str]:
        """Return the best documents, each under the name that the question knows it by."""
        k = self._settings.gate.k
        hits = await search.search(
            SearchRequest(
                mode="hybrid" if embedder else "keyword",
                limit=k * PASSAGES_A_DOCUMENT,
                embedding=await embedder.query(golden.question) if embedder else None,
                text=golden.question,
            )
        )
        named = (
            source if (source := str(hit.metadata.get("source"))) in golden.documents else hit.document_id
            for hit in hits
        )
        return list(dict.fromkeys(named))[:k]


def _reason(old: Quality, new: Quality, gate: GateSettings) -> str | None:
    if new.recall < gate.min_recall:
        return f"recall@{gate.k} is below {gate.min_recall:g}"
    if new.recall < old.recall - gate.recall_loss:
        return f"recall@{gate.k} fell by more than {gate.recall_loss:g}"
    if new.mrr < old.mrr - gate.mrr_loss:
        return f"MRR fell by more than {gate.mrr_loss:g}"
    return None


def _question(line: str, path: Path, number: int) -> GoldenQuestion:
    try:
        entry = json.loads(line)
        question, documents = entry["question"], entry["documents"]
        is_right = isinstance(question, str) and question.strip() and isinstance(documents, list) and documents
        if is_right and all(isinstance(each, str) for each in documents):
            return GoldenQuestion(question, frozenset(documents))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    msg = f'--gate {path}, line {number}: {{"question": "…", "documents": ["source or id", …]}} is wanted'
    raise InvalidGate(msg)
