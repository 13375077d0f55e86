"""Answers as clients read them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from server.answers import Answer, Done, FinishReason, RerankTrouble, Retrieved, Sources
from server.api.context import trace_id
from server.api.problems import clean


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
    page: int | None
    chunk_index: int
    text: str
    score: float = Field(description="What the passages are ordered by; its scale is the engine's.")
    scores: dict[str, float] = Field(description="Its parts: `dense` (cosine), `lexical`, `fused`, `rerank`.")
    start: int = Field(description="Character offset in the document.")
    end: int
    metadata: dict[str, Any]
    cited: bool
    chunks: list[int] = Field(description="Chunks that it is made of, by index; `chunk_index` is the best one's.")


class UsageOut(_Out):
    """Tokens, as the model's provider counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class RerankOut(_Out):
    """What became of a reranking that was wanted."""

    applied: bool = Field(description="Whether the passages are in its order.")
    model: str
    candidates: int = Field(description="Passages that it was given.")
    reason: RerankTrouble | None = Field(description="Why it was not applied: they are in the order they were found.")


class EngineOut(_Out):
    """What an engine did besides finding passages and answering from them."""

    name: str = Field(description="Of the engine that answered; `router` names the one that it chose.")
    queries: list[str] = Field(description="Searched for beside the question: other wordings, or its parts.")
    calls: int = Field(description="Of the model, beside the one that writes the answer.")
    notes: list[str] = Field(description="What was chosen; what was not done or not read, and why.")


ENGINE = Field(None, description="What the engine did.")
RERANK = Field(None, description="Null where no reranking was wanted.")
CACHED = Field(False, description="The answer was written for an earlier question; no model was called for this one.")


class AnswerOut(_Out):
    """An answer with its footnotes."""

    answer: str = Field(examples=["Set `FOOTNOTE_SERVER__PORT` [1]."])
    citations: list[CitationOut]
    sources: list[str] = Field(description="Of the cited passages, or of all where none is cited.")
    finish_reason: FinishReason
    model: str
    usage: UsageOut | None
    cost_usd: float | None
    timings_ms: dict[str, float]
    rerank: RerankOut | None = RERANK
    cached: bool = CACHED
    engine: EngineOut | None = ENGINE
    collection: str
    generation: str
    trace_id: str | None
    request_id: str

    @classmethod
    def of(cls, answer: Answer, *, request_id: str) -> Self:
        """Return what a client gets of an answer."""
        return cls.model_validate(_members(answer, request_id=request_id))


class ChatAnswerOut(AnswerOut):
    """An answer within a conversation."""

    conversation_id: str
    message_id: str = Field(description="Of the answer.")
    standalone_question: str = Field(
        description="What was searched for: the message, made independent of what was said."
    )

    @classmethod
    def of(cls, answer: Answer, *, request_id: str) -> Self:
        """Return what a client gets of an answer."""
        done = answer.done
        return cls.model_validate(
            _members(answer, request_id=request_id)
            | {
                "conversation_id": done.conversation_id,
                "message_id": done.message_id,
                "standalone_question": clean(answer.sources.standalone_question or ""),
            }
        )


def _members(answer: Answer, *, request_id: str) -> dict[str, Any]:
    done = answer.done
    return {
        "answer": clean(answer.answer),
        "citations": done.citations,
        "sources": done.sources,
        "finish_reason": done.finish_reason,
        "model": done.model,
        "usage": done.usage,
        "cost_usd": done.cost_usd,
        "timings_ms": done.timings_ms,
        "rerank": answer.sources.rerank,
        "cached": answer.sources.cached,
        "engine": done.engine,
        "collection": answer.sources.collection,
        "generation": answer.sources.generation,
        "trace_id": answer.sources.trace_id or trace_id(),
        "request_id": request_id,
    }


class RetrievedOut(_Out):
    """Passages without an answer."""

    results: list[CitationOut]
    timings_ms: dict[str, float]
    rerank: RerankOut | None = RERANK
    engine: EngineOut | None = ENGINE
    collection: str
    generation: str
    trace_id: str | None
    request_id: str

    @classmethod
    def of(cls, retrieved: Retrieved, *, request_id: str) -> Self:
        """Return what a client gets of a retrieval."""
        return cls.model_validate(
            {
                "results": retrieved.results,
                "timings_ms": retrieved.timings_ms,
                "rerank": retrieved.rerank,
                "engine": retrieved.engine,
                "collection": retrieved.collection,
                "generation": retrieved.generation,
                "trace_id": trace_id(),
                "request_id": request_id,
            }
        )


class SourcesOut(_Out):
    """Data of the event ``sources``."""

    citations: list[CitationOut]
    sources: list[str]
    rerank: RerankOut | None = RERANK
    cached: bool = CACHED
    engine: EngineOut | None = ENGINE
    collection: str
    generation: str
    trace_id: str | None
    request_id: str
    stream_id: str
    standalone_question: str | None = Field(None, description="What was searched for, within a conversation.")
    conversation_id: str | None = None

    @classmethod
    def of(cls, sources: Sources, *, request_id: str, stream_id: str) -> Self:
        """Return the first event of a stream."""
        return cls.model_validate(
            {
                "citations": sources.citations,
                "sources": sources.sources,
                "rerank": sources.rerank,
                "cached": sources.cached,
                "engine": sources.engine,
                "collection": sources.collection,
                "generation": sources.generation,
                "trace_id": sources.trace_id or trace_id(),
                "request_id": request_id,
                "stream_id": stream_id,
                "standalone_question": clean(sources.standalone_question) if sources.standalone_question else None,
                "conversation_id": sources.conversation_id,
            }
        )


class DoneOut(_Out):
    """Data of the event ``done``."""

    finish_reason: FinishReason
    model: str
    usage: UsageOut | None
    cost_usd: float | None
    timings_ms: dict[str, float]
    cited: list[int] = Field(description="Ids of the passages that the answer points at.")
    sources: list[str] = Field(description="Of the cited passages, or of all where none is cited.")
    conversation_id: str | None = None
    message_id: str | None = None
    engine: EngineOut | None = ENGINE

    @classmethod
    def of(cls, done: Done) -> Self:
        """Return the last event of a stream that went well."""
        return cls.model_validate(
            {
                "finish_reason": done.finish_reason,
                "model": done.model,
                "usage": done.usage,
                "cost_usd": done.cost_usd,
                "timings_ms": done.timings_ms,
                "cited": [citation.id for citation in done.citations if citation.cited],
                "sources": done.sources,
                "conversation_id": done.conversation_id,
                "message_id": done.message_id,
                "engine": done.engine,
            }
        )
