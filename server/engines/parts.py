"""What an engine is built from, anew for each request, and what it leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms import ChatMessage

from config.settings import Settings
from server.answers import EngineReport, Question, Reranked, Usage
from server.caches.vectors import QuestionVectors

if TYPE_CHECKING:
    from embedding.embedder import Embedder
    from server.engines.models.model import Finish, LanguageModel
    from server.engines.reranking.reranker import Reranker
    from server.services.pinned_generations import Pinned
    from storage.collections.collections import Generation
    from storage.vector_store import ChunkStore


UNKEPT = QuestionVectors(most_bytes=0)


@dataclass(slots=True)
class Record:
    """What happened while a question was answered.

    Attributes:
        timings_ms: of the stages ``embed``, ``retrieve``, ``rerank``, ``generate``; milliseconds.
        scores: of each passage that was found, by node id.
        chunks: indexes of the chunks that a passage is made of, by node id; of others than one, at the least.
        finish: how the model ended; None where none was asked.
        usage, cost_usd: of calls before the one that wrote the answer.
        extracted: whether the answer is made of quotations.
        standalone_question: what was searched for in place of a message that needs its conversation.
        reranked: None where no reranking was wanted; of several, the first that failed.
        searched: the generation that the passages are from, where that is another than the question's.
        engine: name of the engine that answers.
        queries: what was searched for beside the question, or instead of it.
        calls: of the model, beside the one that writes the answer.
        notes: what an engine did that one cannot see from its passages, a sentence each.

    """

    timings_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("embed", "retrieve", "rerank"), 0.0))
    scores: dict[str, Mapping[str, float]] = field(default_factory=dict)
    chunks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    finish: Finish | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    extracted: bool = False
    standalone_question: str | None = None
    reranked: Reranked | None = None
    searched: Generation | None = None
    engine: str = ""
    queries: tuple[str, ...] = ()
    calls: int = 0
    notes: list[str] = field(default_factory=list)

    def add_call(self, finish: Finish) -> None:
        """Count what a call of the model took, as far as the provider counts, and what it cost."""
        self.usage = total_usage(self.usage, finish.usage)
        self.cost_usd = total_cost(self.cost_usd, finish.cost_usd)
        self.calls += 1

    def report(self) -> EngineReport:
        """Return what the engine did so far."""
        return EngineReport(self.engine, queries=self.queries, calls=self.calls, notes=tuple(self.notes))

    def add_reranking(self, done: Reranked) -> None:
        """Take note of a reranking; one that failed stands for all."""
        if self.reranked is None or self.reranked.applied:
            self.reranked = done

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's wall clock to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[name] = self.timings_ms.get(name, 0.0) + (time.perf_counter() - started) * 1000


def total_usage(*counts: Usage | None) -> Usage | None:
    """Add up what the calls of one answer took, as far as it was counted."""
    known = [usage for usage in counts if usage is not None]
    if not known:
        return None
    return Usage(
        sum(usage.prompt_tokens for usage in known),
        sum(usage.completion_tokens for usage in known),
        sum(usage.total_tokens for usage in known),
    )


def total_cost(*costs: float | None) -> float | None:
    """Add up what the calls of one answer cost, as far as prices are known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model reads of a conversation; all of it is data but `instructions`, which are the application's.

    Attributes:
        history: as much as fits, the oldest first, citations taken out: they point at other passages.
        tokens: that all of it takes, estimated.

    """

    history: tuple[ChatMessage, ...] = ()
    summary: str = ""
    instructions: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The other collections of the tenant, for engines that look further than the one asked for.

    Attributes:
        visit: gives the same request's parts over another collection, held until the block ends; raises
            `CollectionNotFound`.
        kept: what an engine enters here is held until the request ends, a stream with its last token.

    """

    visit: Callable[[EngineParts, str], AbstractAsyncContextManager[EngineParts]]
    kept: AsyncExitStack


@dataclass(frozen=True, slots=True)
class EngineParts:
    """Everything that an engine may use for one request.

    Attributes:
        store: over the generation that the request is pinned to.
        pinned: that generation, with the model that it was built with.
        embedder: that model, or the configured one where it cannot be used: to compare passages with each other.
        model: None: answers are extracted, not written.
        reranker: None: passages stay in the order in which they were found.
        vectors: embeds the question, unless it has been before.
        conversation: that the question stands in.
        elsewhere: None: there are no other collections to look at.

    """

    question: Question
    store: ChunkStore
    pinned: Pinned
    embedder: Embedder
    model: LanguageModel | None
    settings: Settings
    record: Record
    conversation: Conversation = Conversation()
    reranker: Reranker | None = None
    vectors: QuestionVectors = UNKEPT
    elsewhere: Elsewhere | None = None


Engine = Callable[[EngineParts], BaseQueryEngine]
ChatEngine = Callable[[EngineParts], BaseChatEngine]
