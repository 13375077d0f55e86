"""Answers as spans and metrics: one span from the question to the last token, which says how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Container, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from config.errors import slug_of
from config.telemetry import spans
from config.telemetry.metrics import (
    ANSWER_DURATION,
    ANSWERS,
    CITED,
    RETRIEVED,
    STAGE_DURATION,
    TIME_TO_FIRST_TOKEN,
    TOP_SCORE,
    Few,
)
from server.answers import Citation, Done, Event, Reasoning, Sources, Token
from server.engines.registry import CHAT_ENGINES
from server.services.noted import Noted
from server.tool_calls import CallPiece
from server.waiting.interrupts import why_cancelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.answers import Question, Retrieved
    from server.services.evidence import EvidenceRecord

Operation = Literal["query", "chat", "retrieve"]
OTHER = "other"
WRITTEN = frozenset({"stop", "length", "tool_calls"})
"""Ends of answers that a model wrote; nobody waits for the first token of the others."""
_collection_label = Few()


def count_unbegun(operation: Operation, question: Question, error: BaseException, *, seconds: float) -> None:
    """Count an answer that failed before an engine was asked: its conversation could not be begun."""
    outcome = slug_of(error)
    labels = {"footnote.operation": operation, "footnote.mode": _mode_label(question), "footnote.outcome": outcome}
    ANSWER_DURATION.record(seconds, {**labels, "error.type": outcome})
    ANSWERS.add(1, {"footnote.outcome": outcome})


@contextmanager
def timed_stage(name: str) -> Iterator[None]:
    """Measure a stage that lies outside of the answer."""
    started = time.perf_counter()
    try:
        yield
    finally:
        STAGE_DURATION.record(time.perf_counter() - started, {"footnote.stage": name})


def _mode_label(question: Question, plugged_in: Container[str] = ()) -> str:
    is_known = question.mode in CHAT_ENGINES or question.mode in plugged_in
    return question.mode if is_known else OTHER  # one that there is not is text of the client's


class Observation:
    """What is seen of one answer; `plugged_in` are names of plug-ins' engines.

    Attributes:
        asked: the question's text, as far as it may be recorded.

    """

    def __init__(
        self,
        operation: Operation,
        question: Question,
        *,
        conversation_id: str | None = None,
        evidence: EvidenceRecord | None = None,
        plugged_in: Container[str] = (),
    ) -> None:
        self.asked = question.question
        self._started = time.perf_counter()
        self._labels = {"footnote.operation": operation, "footnote.mode": _mode_label(question, plugged_in)}
        self._first: float | None = None
        self._outcome = ""
        self._ended = False
        self._text: list[str] = []
        attributes: dict[str, spans.Value] = {**self._labels, "footnote.k": question.k}
        if question.min_score is not None:
            attributes["footnote.min_score"] = question.min_score
        attributes["footnote.filtered"] = question.filters is not None or question.document_ids is not None
        attributes["openinference.span.kind"] = "CHAIN"  # Arize Phoenix's name for it
        if conversation_id is not None:
            attributes["gen_ai.conversation.id"] = conversation_id
        self.span = spans.begin(f"footnote.{operation}", attributes=attributes)
        self._context = spans.context_of(self.span)
        self._trace_id = spans.trace_id_of(self.span)
        self._noted = None
        if evidence is not None and evidence.is_on:
            self._noted = Noted(evidence, operation=operation, conversation_id=conversation_id, trace_id=self._trace_id)

    async def events(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """Hand an answer's events on, and take note of them."""
        try:
            async with aclosing(spans.made_under(self.span, events)) as made:
                async for event in made:
                    self._see(event)
                    yield replace(event, trace_id=self._trace_id) if isinstance(event, Sources) else event
        except BaseException as exc:
            self.failed(exc)
            raise
        finally:
            self.end()

    def found(self, retrieved: Retrieved) -> None:
        """Take note of passages that were asked for without an answer."""
        self._passages(retrieved.results, collection=retrieved.collection, generation=retrieved.generation)
        self._stages(retrieved.timings_ms)
        self._outcome = "stop" if retrieved.results else "no_context"

    def failed(self, error: BaseException) -> None:
        """Take note of an end that is no answer; one that nobody waited for any more is no failure."""
        if self._ended:
            return
        cause = why_cancelled() if isinstance(error, asyncio.CancelledError | GeneratorExit) else error
        self._outcome = slug_of(cause) if cause is not None else spans.CANCELLED
        if cause is not None:
            spans.failed(self.span, cause)
            self._labels["error.type"] = self._outcome

    def end(self) -> None:
        """End the span; a second time changes nothing."""
        if self._ended:
            return
        self._ended = True
        if self._noted is not None:
            self._noted.ended(self._outcome or spans.CANCELLED)
        span = self.span
        span.set_attribute("footnote.outcome", self._outcome)
        labels = {**self._labels, "footnote.outcome": self._outcome}
        ANSWER_DURATION.record(time.perf_counter() - self._started, labels, context=self._context)
        ANSWERS.add(1, {"footnote.outcome": self._outcome or spans.CANCELLED})
        texts = spans.content()
        texts.put(span, "footnote.question", self.asked)
        if self._text:
            texts.put(span, "footnote.answer", "".join(self._text))
        span.end()

    def _see(self, event: Event) -> None:
        if isinstance(event, Token):
            if self._first is None:
                self._first = time.perf_counter() - self._started
            if spans.content().is_let_in:
                self._text.append(event.text)
        elif isinstance(event, CallPiece):
            if self._first is None:
                self._first = time.perf_counter() - self._started
        elif isinstance(event, Sources):
            self._passages(event.citations, collection=event.collection, generation=event.generation)
        elif isinstance(event, Reasoning):
            if event.retracts:
                self._first = None
                self._text.clear()
        else:
            self._done(event)

    def _passages(self, passages: Sequence[Citation], *, collection: str, generation: str) -> None:
        if self._noted is not None:
            self._noted.shown(passages, collection=collection, generation=generation)
        self._labels["footnote.collection"] = _collection_label(collection)
        scores = [passage.scores["dense"] for passage in passages if "dense" in passage.scores]
        self.span.set_attributes(
            {
                "footnote.collection": collection,
                "footnote.generation": generation,
                "footnote.retrieved": len(passages),
                "footnote.scores": tuple(round(passage.score, 4) for passage in passages),
            }
        )
        RETRIEVED.record(len(passages), self._labels, context=self._context)
        if scores:
            self.span.set_attribute("footnote.top_score", round(max(scores), 4))
            TOP_SCORE.record(max(scores), self._labels, context=self._context)

    def _done(self, done: Done) -> None:
        self._outcome = done.finish_reason
        if self._noted is not None:
            self._noted.cited(done.cited)
        if self._first is not None and done.finish_reason in WRITTEN:
            self.span.set_attribute("footnote.time_to_first_token", self._first)
            TIME_TO_FIRST_TOKEN.record(self._first, self._labels, context=self._context)
        cited = sum(citation.cited for citation in done.citations)
        self.span.set_attribute("footnote.cited", cited)
        CITED.record(cited, self._labels, context=self._context)
        self._stages(done.timings_ms)
        if done.usage is not None:
            # not `gen_ai.usage.*`: what adds up a trace's spans would count the model's calls twice
            self.span.set_attribute("footnote.usage.input_tokens", done.usage.prompt_tokens)
            self.span.set_attribute("footnote.usage.output_tokens", done.usage.completion_tokens)
        if done.cost_usd is not None:
            self.span.set_attribute("footnote.cost_usd", done.cost_usd)
        self.end()  # what its reader does with it is no part of it

    def _stages(self, timings_ms: Mapping[str, float]) -> None:
        mode = {"footnote.mode": self._labels["footnote.mode"]}
        for stage, milliseconds in timings_ms.items():
            if stage != "total" and milliseconds:
                STAGE_DURATION.record(milliseconds / 1000, {**mode, "footnote.stage": stage}, context=self._context)
