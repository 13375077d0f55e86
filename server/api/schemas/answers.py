"""Answers as clients read them: what every door shows of a search and of an answer, and HTTP's own documents."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from server.answers import Answer, Done, FinishReason, Outcome, RerankTrouble, Retrieved, Sources
from server.api.context import trace_id
from server.api.problems import clean


def _clean(value: object) -> object:
    return clean(value) if isinstance(value, str) else value


Written = Annotated[str, BeforeValidator(_clean)]
"""A model's own words, which may hold half a surrogate pair."""


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CitationOut(_Out):
    """A passage given to the model; `[id]` in the answer points at it."""

    id: int
    node_id: str
    document_id: str
    source: str = Field(examples=["docs/configuration.md"])
    title: str
    heading: str | None
    page: int | None = Field(description="On which the passage begins; null if its document has no pages.")
    page_end: int | None = Field(
        description="On which it ends; its sentences begin on `page` nevertheless, unless the engine joined passages."
    )
    chunk_index: int
    text: str
    score: float = Field(description="What the passages are ordered by; its scale is the engine's.")
    scores: dict[str, float] = Field(description="Its parts: `dense` (cosine), `lexical`, `fused`, `rerank`.")
    start: int = Field(description="Character offset in the document.")
    end: int = Field(description="Of its end; `start` itself, where a plug-in's text is no part of the document.")
    metadata: dict[str, Any]
    cited: bool
    chunks: list[int] = Field(description="Indexes of the chunks that it is made of; `chunk_index` is the best one's.")


class UsageOut(_Out):
    """Tokens, as the model's provider counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    is_estimate: bool = Field(False, description="Whether they are estimated, as the provider does not count.")


class RerankOut(_Out):
    """The outcome of a reranking."""

    applied: bool = Field(description="Whether the passages are in the reranker's order.")
    model: str
    candidates: int = Field(description="How many passages the reranker was given.")
    reason: RerankTrouble | None = Field(
        description="Why it was not applied, which leaves the passages in the order in which they were found."
    )


class EngineOut(_Out):
    """What an engine did besides finding passages and answering from them."""

    name: str = Field(description="Of the engine that answered; `router` names the one that it chose.")
    queries: list[str] = Field(description="Searched for beside the question: other wordings, or its parts.")
    calls: int = Field(description="Calls of the model, apart from the one that writes the answer.")
    notes: list[str] = Field(
        description="What was chosen; what was not done or not read, and why; how the question and the passages fit."
    )


class CandidateOut(_Out):
    """A passage that was found, and what became of it; of a document that whoever asks may read."""

    outcome: Outcome = Field(
        description="`given`; `joined` to a passage that was; `duplicate`; `document_cap`, `max_per_document` was "
        "reached; `beyond_k`, better ones were enough; `no_room` in the model's window; `below_min_score`; `left_out` "
        "by an engine or a plug-in."
    )
    citation: int | None = Field(description="`id` of the passage that it is, is part of, or repeats.")
    document_id: str
    source: str
    title: str
    heading: str | None
    page: int | None
    chunk_index: int
    start: int
    end: int
    score: float
    scores: dict[str, float] = Field(description="`dense`, `lexical`, `fused`, `rerank`, as far as it has them.")
    ranks: dict[str, int] = Field(description="Its places by these, from 1, among what was found.")


class ExplanationOut(_Out):
    """Why these passages."""

    candidates: list[CandidateOut] = Field(description="Those given first, then the others as they were found.")
    omitted: int = Field(description="Further ones, which are too many to list.")


class SearchView(_Out):
    """How passages were found: every door shows these members with passages and with answers."""

    collection: str
    generation: str
    rerank: RerankOut | None = Field(None, description="Null where no reranking was asked for.")
    engine: EngineOut | None = Field(None, description="What the engine did.")
    trace_id: str | None
    request_id: str


class _Explained(_Out):
    explanation: ExplanationOut | None = Field(None, description="Null where the request did not ask to `explain`.")


class AnswerView(SearchView):
    """How an answer came about: every door shows these members with the text and its citations."""

    sources: list[str] = Field(description="Of the cited passages, or of all where none is cited.")
    finish_reason: FinishReason
    model: str = Field(description="The language model that wrote the answer.")
    cost_usd: float | None
    timings_ms: dict[str, float]
    cached: bool = Field(
        False, description="The answer was written for an earlier question; no model was called for this one."
    )


def members_of(*said: Sources | Done | Retrieved, request_id: str) -> dict[str, Any]:
    """Return the members of a view by name; a later event replaces an earlier one's, as `Done` knows what was cited."""
    members = {field.name: getattr(each, field.name) for each in said for field in fields(each)}
    return {**members, "trace_id": members.get("trace_id") or trace_id(), "request_id": request_id}


class _AnswerText(_Out):
    """Comes first in the JSON."""

    answer: Written = Field(examples=["Set `FOOTNOTE_SERVER__PORT` [1]."])
    citations: list[CitationOut]


class AnswerOut(_Explained, AnswerView, _AnswerText):
    """An answer with its footnotes."""

    usage: UsageOut | None

    @classmethod
    def of(cls, answer: Answer, *, request_id: str) -> Self:
        """Return an answer as a client reads it."""
        members = members_of(answer.sources, answer.done, request_id=request_id)
        return cls.model_validate({**members, "answer": answer.answer})


class ChatAnswerOut(AnswerOut):
    """An answer within a conversation."""

    conversation_id: str
    message_id: str = Field(description="Of the answer.")
    standalone_question: Annotated[Written, BeforeValidator(lambda value: value or "")] = Field(
        description="What was searched for: the message, made independent of what was said."
    )


class RetrievedOut(_Explained, SearchView):
    """Passages without an answer."""

    results: list[CitationOut]
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, retrieved: Retrieved, *, request_id: str) -> Self:
        """Return a retrieval as a client reads it."""
        return cls.model_validate(members_of(retrieved, request_id=request_id))


class SourcesOut(_Explained, SearchView):
    """Data of the event ``sources``."""

    citations: list[CitationOut]
    sources: list[str]
    cached: bool = False
    stream_id: str
    standalone_question: Written | None = Field(None, description="What was searched for, within a conversation.")
    conversation_id: str | None = None

    @classmethod
    def of(cls, sources: Sources, *, request_id: str, stream_id: str) -> Self:
        """Return the first event of a stream."""
        return cls.model_validate({**members_of(sources, request_id=request_id), "stream_id": stream_id})


class DoneOut(_Out):
    """Data of the event ``done``, whose attributes are those of `server.answers.Done`."""

    finish_reason: FinishReason
    model: str
    usage: UsageOut | None
    cost_usd: float | None
    timings_ms: dict[str, float]
    cited: list[int] = Field(description="Ids of the passages that the answer points at.")
    sources: list[str] = Field(description="Of the cited passages, or of all where none is cited.")
    conversation_id: str | None = None
    message_id: str | None = None
    engine: EngineOut | None = None
