"""What happened while a question was answered."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from server.answers import EngineReport, Reasoning, Reranked, Usage
from server.tool_calls import CallPiece

if TYPE_CHECKING:
    from llama_index.core.schema import NodeWithScore

    from server.engines.models.events import Finish
    from server.engines.trail import Trail
    from storage.generation import Generation


@dataclass(frozen=True, slots=True)
class Quotation:
    """A quotation with its marker, and the passage's number."""

    text: str
    number: int


@dataclass(slots=True)
class Record:
    """What happened while a question was answered.

    Attributes:
        timings_ms: of the stages ``embed``, ``retrieve``, ``rerank``, ``generate``; milliseconds.
        scores: of the passages found, by node id.
        chunks: indexes of a passage's chunks, by node id; at least for passages of several chunks.
        finish: how the model ended; None if none was called.
        usage, cost_usd: of the auxiliary calls.
        extracted: whether the answer is extractive.
        cut: whether the request's token limit cut an extractive answer.
        standalone_question: the rewritten question that was searched for in place of a chat message.
        reranked: None without reranking; of several rerankings, the first that failed.
        searched: the generation of the passages, if it is not the question's.
        engine: name of the engine that answers.
        queries: searched for besides the question, or in place of it.
        calls: number of auxiliary model calls.
        notes: sentences on what an engine did that its passages do not show.
        remarks: sentences on how the question and the passages fit; among the notes of the report.
        refused: whether the passages that were found do not answer the question.
        thoughts: the model's reasoning on the answer that has not been sent yet.
        calling: pieces of calls of a client's tools that have not been sent yet.
        called: whether the model has called one of them.
        admitted: whether the question had its turn to be searched for; it is not turned away later.
        selected: the hits among which passages were selected last, how (`passages.selection.Selection`), and those
            passages (`Selected`).
        author: who wrote the answer in place of a model of Footnote's: a plug-in; empty for none.
        trail: of all that was found; None where no explanation was asked for.
        quote: finds what the passages say, for an answer without a footnote; None where an engine has no such thing.

    """

    timings_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("embed", "retrieve", "rerank"), 0.0))
    scores: dict[str, Mapping[str, float]] = field(default_factory=dict)
    chunks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    finish: Finish | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    extracted: bool = False
    cut: bool = False
    standalone_question: str | None = None
    reranked: Reranked | None = None
    searched: Generation | None = None
    engine: str = ""
    author: str = ""
    queries: tuple[str, ...] = ()
    calls: int = 0
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    thoughts: list[Reasoning] = field(default_factory=list)
    calling: list[CallPiece] = field(default_factory=list)
    called: bool = False
    refused: bool = False
    admitted: bool = False
    selected: tuple[Sequence[NodeWithScore], object, Sequence[Any]] | None = None
    trail: Trail | None = None
    quote: Callable[[], Awaitable[Quotation | None]] | None = None

    def add_call(self, finish: Finish) -> None:
        """Add a model call's tokens and cost, as far as they are known."""
        self.usage = total_usage(self.usage, finish.usage)
        self.cost_usd = total_cost(self.cost_usd, finish.cost_usd)
        self.calls += 1

    def new_thoughts(self) -> list[Reasoning]:
        """Return the reasoning that was not returned before."""
        new, self.thoughts = self.thoughts, []
        return new

    def add_calling(self, piece: CallPiece) -> None:
        """Add a piece of a call of a client's tool."""
        self.calling.append(piece)
        self.called = True

    def new_calling(self) -> list[CallPiece]:
        """Return the pieces of calls that were not returned before."""
        new, self.calling = self.calling, []
        return new

    def note(self, sentence: str) -> None:
        """Add a sentence to the notes, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def report(self) -> EngineReport:
        """Return what the engine has done so far."""
        return EngineReport(
            self.engine,
            queries=self.queries,
            calls=self.calls,
            notes=(*self.notes, *self.remarks),
            is_as_planned=not self.notes,
        )

    def add_reranking(self, done: Reranked) -> None:
        """Record a reranking; one that failed stands for all."""
        if self.reranked is None or self.reranked.applied:
            self.reranked = done

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's duration to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[name] = self.timings_ms.get(name, 0.0) + (time.perf_counter() - started) * 1000


def total_usage(*counts: Usage | None) -> Usage | None:
    """Return the sum of the tokens of an answer's calls, as far as they are known."""
    known = [usage for usage in counts if usage is not None]
    if not known:
        return None
    return Usage(
        sum(usage.prompt_tokens for usage in known),
        sum(usage.completion_tokens for usage in known),
        sum(usage.total_tokens for usage in known),
        is_estimate=any(usage.is_estimate for usage in known),
    )


def total_cost(*costs: float | None) -> float | None:
    """Return the sum of the costs of an answer's calls, as far as prices are known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
