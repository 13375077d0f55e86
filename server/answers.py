"""Questions, and answers as the events of a stream or as a whole."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from server.tool_calls import CallPiece, ToolCall, Tools, whole_calls
from storage.generation import DEFAULT_COLLECTION
from storage.search.filters import FilterGroup

FinishReason = Literal["stop", "length", "no_context", "extractive", "tool_calls"]
"""How an answer ended; `tool_calls` only where a client offered tools, which are for the model without documents."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and how to answer it.

    Attributes:
        k: passages to find; a model is given those of them that its context window has room for.
        mode: name of an engine.
        min_score: bar for a passage's cosine similarity, 0..1; None: the settings' bar.
        max_per_document: passages of one document at the most; None: the settings' cap.
        near_duplicates: whether passages that nearly repeat a better one are left out; None: the settings' value.
        join_neighbours: whether adjacent chunks become one passage; None: the settings' value.
        rerank: whether a reranker orders the passages; None: the settings' value.
        temperature, max_tokens: None: the settings' values.
        stop: sequences at which the model stops writing.
        json_schema: a JSON schema, as JSON, that the answer keeps to; None: it is text with citations.
        explain: whether the answer tells what became of all that was found.
        whole: nobody reads the answer before it is complete, so that the model may give it in one piece; it is the same
            question either way.

    """

    question: str
    collection: str = DEFAULT_COLLECTION
    k: int = 8
    mode: str = "hybrid"
    filters: FilterGroup | None = None
    document_ids: tuple[str, ...] | None = None
    min_score: float | None = None
    max_per_document: int | None = None
    near_duplicates: Literal["drop", "keep"] | None = None
    join_neighbours: bool | None = None
    rerank: bool | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None
    explain: bool = False
    whole: bool = field(default=False, compare=False)

    @property
    def schema(self) -> Mapping[str, object] | None:
        """The JSON schema."""
        return None if self.json_schema is None else json.loads(self.json_schema)


@dataclass(frozen=True, slots=True)
class Message:
    """An earlier message of a conversation.

    Attributes:
        tokens: its length, where it has been counted.
        calls: of an assistant's message: the tools that the model called with it.
        answers: of a tool's message: the id of the call whose result it is.

    """

    role: Literal["user", "assistant", "tool"]
    content: str
    tokens: int | None = None
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question within a conversation. Earlier messages are data: instructions in them are not followed.

    Attributes:
        question: the user's message is its `question`.
        history: earlier messages, the oldest first.
        summary: of what was said before those.
        instructions: the application's own, in addition to Footnote's.
        conversation_id: where Footnote keeps the conversation.
        is_guarded: its question, and those before, have passed the guards.
        tools: what the model may call, without documents only; the last message may then be a tool's, and there is no
            question.

    """

    question: Question
    history: tuple[Message, ...] = ()
    summary: str = ""
    instructions: str = ""
    conversation_id: str | None = None
    is_guarded: bool = False
    tools: Tools | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage given to the model.

    Attributes:
        id: the ``n`` of ``[n]`` in the answer, from 1.
        score: what the passages are ordered by, descending; its scale is the engine's.
        scores: the parts of it: ``dense`` (cosine), ``lexical``, ``fused``, ``rerank``.
        page, page_end: on which it begins and ends.
        start, end: character offsets in the document.
        chunks: indexes of the chunks that it is made of, ascending; `chunk_index` is the best one's.
        cited: whether the answer points at it.

    """

    id: int
    node_id: str
    document_id: str
    source: str
    title: str
    heading: str | None
    page: int | None
    page_end: int | None
    chunk_index: int
    text: str
    score: float
    scores: Mapping[str, float]
    start: int
    end: int
    metadata: Mapping[str, object]
    cited: bool = False
    chunks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the model's provider counted; `is_estimate`: it does not, and they are estimated from the texts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    is_estimate: bool = False


RerankTrouble = Literal[
    "circuit-open", "failed", "no-passages", "nonsense", "rate-limited", "rejected", "timeout", "unavailable"
]


@dataclass(frozen=True, slots=True)
class Reranked:
    """The outcome of a reranking.

    Attributes:
        applied: whether the passages are in the reranker's order; else they are in the order in which they were found.
        model: the reranker's.
        candidates: how many passages it was given.
        reason: why it was not applied; None where it was.

    """

    applied: bool
    model: str
    candidates: int
    reason: RerankTrouble | None = None


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What an engine did besides finding passages and answering from them.

    Attributes:
        name: of the engine that answered; where the router chose one, that one's.
        queries: what was searched for beside the question, or instead of it: other wordings, parts.
        calls: how often the model was called, apart from the call that writes the answer.
        notes: a sentence each: what was chosen, what was not done or not read, and why; and how the question and the
            passages fit.
        is_as_planned: no note is of a choice, or of something that was not done or not read.

    """

    name: str
    queries: tuple[str, ...] = ()
    calls: int = 0
    notes: tuple[str, ...] = ()
    is_as_planned: bool = True


Outcome = Literal["given", "joined", "duplicate", "document_cap", "beyond_k", "no_room", "below_min_score", "left_out"]
"""What became of a chunk that was found: it is a passage that was given, or part of one; or why it is none.

``left_out``: an engine's or a plug-in's own doing.
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that was found for a question, of a document that whoever asks may read; not its text.

    Attributes:
        citation: id of the passage that it is, or is part of, or repeats; None: of none.
        ranks: from 1, by the names of `scores`, among what the legs of the search found.

    """

    outcome: Outcome
    citation: int | None
    document_id: str
    source: str
    title: str
    heading: str | None
    page: int | None
    chunk_index: int
    start: int
    end: int
    score: float
    scores: Mapping[str, float]
    ranks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why these passages: the candidates, those given first, then the others in the order in which they were found.

    Attributes:
        omitted: further candidates, of which there are too many to list.

    """

    candidates: tuple[Candidate, ...]
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """First event of a stream: the passages, before the model has written anything.

    Attributes:
        rerank: None where no reranking was asked for.
        cached: whether the answer was written for an earlier question.
        standalone_question: what was searched for, within a conversation.
        trace_id: of the trace in which the answer was written, 32 hex digits; None where it was not traced.
        explanation: None where it was not asked for.

    """

    citations: tuple[Citation, ...]
    sources: tuple[str, ...]
    collection: str
    generation: str
    rerank: Reranked | None = None
    cached: bool = False
    standalone_question: str | None = None
    conversation_id: str | None = None
    trace_id: str | None = None
    engine: EngineReport | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer, without markers that point at no passage."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thinks before it answers, where the settings show that; no part of the answer.

    Attributes:
        retracts: every `Token` so far was reasoning, and is to be forgotten: the model closed a block of reasoning that
            it never opened. It is sent even where reasoning is not shown.

    """

    text: str
    retracts: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Last event of a stream that succeeded; `citations` are marked as cited or not, `sources` are the cited ones'.

    Attributes:
        message_id: of the answer, where a conversation keeps it.

    """

    finish_reason: FinishReason
    model: str
    usage: Usage | None
    cost_usd: float | None
    timings_ms: Mapping[str, float]
    citations: tuple[Citation, ...]
    sources: tuple[str, ...]
    conversation_id: str | None = None
    message_id: str | None = None
    engine: EngineReport | None = None

    @property
    def cited(self) -> tuple[int, ...]:
        """Ids of the passages that the answer points at."""
        return tuple(citation.id for citation in self.citations if citation.cited)


Event = Sources | Token | Reasoning | CallPiece | Done
_MARKER = re.compile(r"\[(\d{1,3})\]")
UNFINISHED = "a stream ended without `done`"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: a stream's text and the calls of tools in it, with its first and its last event."""

    answer: str
    sources: Sources
    done: Done
    calls: tuple[ToolCall, ...] = ()


class Transcript:
    """Collects a stream's events into a whole answer."""

    __slots__ = ("_calls", "_pieces", "_sources")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._calls: list[CallPiece] = []
        self._sources: Sources | None = None

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return "".join(self._pieces)

    @property
    def sources(self) -> Sources | None:
        """The first event; None before it came."""
        return self._sources

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The passages so far, those marked as cited that the text so far points at."""
        numbers = {int(each) for each in _MARKER.findall(self.text)}
        return (
            tuple(replace(each, cited=each.id in numbers) for each in self._sources.citations) if self._sources else ()
        )

    def add(self, event: Event) -> Answer | None:
        """Take the next event; return the whole answer once that is `Done`.

        Raises:
            RuntimeError: `Done` arrived before `Sources`.

        """
        if isinstance(event, Token):
            self._pieces.append(event.text)
        elif isinstance(event, Sources):
            self._sources = event
        elif isinstance(event, Reasoning):
            if event.retracts:
                self._pieces.clear()
        elif isinstance(event, CallPiece):
            self._calls.append(event)
        elif self._sources is None:
            raise RuntimeError(UNFINISHED)
        else:
            return Answer(self.text.strip(), sources=self._sources, done=event, calls=whole_calls(self._calls))
        return None


async def collect(events: AsyncIterator[Event]) -> Answer:
    """Read a stream to its end; cancelling this closes it."""
    transcript, answer = Transcript(), None
    try:
        async for event in events:
            answer = transcript.add(event) or answer
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
    if answer is None:
        raise RuntimeError(UNFINISHED)
    return answer


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Passages without an answer."""

    results: tuple[Citation, ...]
    collection: str
    generation: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    rerank: Reranked | None = None
    engine: EngineReport | None = None
    explanation: Explanation | None = None


def is_blank(text: str) -> bool:
    """Tell whether a text shows nothing: it has only white space, zero-width and control characters."""
    return all(each.isspace() or unicodedata.category(each) in {"Cc", "Cf"} for each in text)


def events_of(answer: Answer) -> AsyncGenerator[Event, None]:
    """Return a stored answer as a stream, with its text in one piece."""

    async def events() -> AsyncGenerator[Event, None]:
        yield answer.sources
        if answer.answer:
            yield Token(answer.answer)
        yield answer.done

    return events()
