"""Answers as OpenAI's clients read them; what the protocol has no place for is in extra members, which clients keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import BaseModel, Field

from server.answers import Answer, Done, Sources, Usage
from server.api.problems import clean
from server.api.schemas.answers import (
    AnswerView,
    CitationOut,
    RerankOut,
    SourcesOut,
    UsageOut,
    Written,
    members_of,
)
from server.tool_calls import CallPiece, ToolCall

Form = str
"""`text`; `json`: by a schema; or, behind `FUNCTION`, the name of the function whose arguments are the answer."""
FUNCTION = "function "
EXTRACTIVE = "extractive"
ASKED_NO_MODEL = frozenset({"no_context", "extractive"})


class CompletionMessageOut(BaseModel):
    """The answer; `[n]` in it points at the citation with the id `n`."""

    role: Literal["assistant"] = "assistant"
    content: str | None = Field(None, examples=["Set `FOOTNOTE_SERVER__PORT` [1]."])
    refusal: str | None = Field(None, description="Instead of JSON by a schema: why there is none.")
    tool_calls: list[dict[str, Any]] | None = Field(
        None, description="Of tools that were offered, or the one call of the one function that was asked for."
    )
    citations: list[CitationOut] = Field(description="The passages given to the model.")
    rerank: RerankOut | None = Field(description="Null where no reranking was asked for.")


class ChoiceOut(BaseModel):
    """The one choice there is."""

    index: Literal[0] = 0
    message: CompletionMessageOut
    logprobs: None = None
    finish_reason: Literal["stop", "length", "tool_calls"]


class DetailsOut(AnswerView):
    """What OpenAI's protocol has no place for."""

    standalone_question: Written | None = Field(description="What was searched for.")

    @classmethod
    def of(cls, sources: Sources, done: Done, *, request_id: str) -> Self:
        """Return what is known at the end of an answer."""
        return cls.model_validate(members_of(sources, done, request_id=request_id))


class CompletionOut(BaseModel):
    """A whole answer."""

    id: str = Field(examples=["chatcmpl-6f1c0c9b3f5d4d0e8a3b6d1c2e4f5a6b"])
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="Seconds since 1970.")
    model: str = Field(description="As asked.")
    choices: list[ChoiceOut]
    usage: UsageOut | None = Field(description="Null where the model's provider does not count.")
    footnote: DetailsOut

    @classmethod
    def of(
        cls, answer: Answer, *, completion_id: str, created: int, model: str, request_id: str, form: Form = "text"
    ) -> Self:
        """Return an answer in the form that was asked for: without text where nothing was found for JSON."""
        done = answer.done
        details = DetailsOut.of(answer.sources, done, request_id=request_id)
        citations = [CitationOut.model_validate(citation) for citation in done.citations]
        said = said_as(clean(answer.answer), done, form, calls=answer.calls)
        message = CompletionMessageOut(**said, citations=citations, rerank=details.rerank)
        usage = usage_of(done)
        return cls(
            id=completion_id,
            created=created,
            model=model,
            choices=[ChoiceOut(message=message, finish_reason=finish_reason_of(done, said))],
            usage=None if usage is None else UsageOut.model_validate(usage),
            footnote=details,
        )


class ModelOut(BaseModel):
    """A collection, as a model to chat with; or the embedding model."""

    id: str = Field(examples=["footnote/default"])
    object: Literal["model"] = "model"
    created: int = Field(description="Seconds since 1970; 0 where it is not known.")
    owned_by: str


class ModelsOut(BaseModel):
    """Every model."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class EmbeddingOut(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="Numbers, or little-endian float32 in base64.")


class EmbeddingUsageOut(BaseModel):
    """Tokens that the embedding model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingDetailsOut(BaseModel):
    """What OpenAI's protocol has no place for."""

    max_tokens: int = Field(description="What the model reads of a text.")
    truncated: list[int] = Field(description="Texts of which it did not read the end.")
    request_id: str


class EmbeddingsOut(BaseModel):
    """Vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsageOut
    footnote: EmbeddingDetailsOut


def said_as(text: str, done: Done, form: Form, *, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
    """Return the members of a message that say the answer: its text, JSON, calls, a function's arguments, a refusal."""
    if calls:
        return {"content": text or None, "tool_calls": [_call(call.id, call.name, call.arguments) for call in calls]}
    if form != "text" and done.finish_reason == "no_context":
        return {"refusal": text}
    if form in ("text", "json"):
        return {"content": text}
    return {"tool_calls": [_call(f"call_{uuid4().hex}", form.removeprefix(FUNCTION), text)]}


def call_delta(piece: CallPiece) -> dict[str, Any]:
    """Return a piece of a call as a stream has it: id, type and name come with the first."""
    text = clean(piece.arguments)
    whole = _call(piece.id, piece.name, text) if piece.id else {"function": {"arguments": text}}
    return {"index": piece.index, **whole}


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": clean(arguments)}}


def finish_reason_of(done: Done, said: Mapping[str, Any]) -> Literal["stop", "length", "tool_calls"]:
    """Return OpenAI's name for how an answer ended, of which that was said; ours is in `DetailsOut`."""
    if done.finish_reason == "length":
        return "length"
    return "tool_calls" if done.finish_reason == "tool_calls" or said.get("tool_calls") else "stop"


def usage_of(done: Done) -> Usage | None:
    """Return what the answer took; nothing where no model was asked, None where its provider does not count."""
    was_called = "condense" in done.timings_ms or (done.engine is not None and done.engine.calls > 0)
    if done.usage is None and (done.finish_reason in ASKED_NO_MODEL or done.model == EXTRACTIVE) and not was_called:
        return Usage(0, 0, 0)
    return done.usage


def opening(sources: Sources, *, request_id: str) -> Mapping[str, Any]:
    """Return what is known before the first word of an answer."""
    out = SourcesOut.of(sources, request_id=request_id, stream_id="")
    return out.model_dump(mode="json", exclude={"citations", "stream_id", "conversation_id"})
