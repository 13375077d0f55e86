"""Feedback as clients write and read it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.api.schemas.fields import NO_NUL, CollectionName, DocumentId, Text
from server.api.schemas.pages import PageQuery
from server.api.schemas.questions import MAX_QUESTION_LENGTH
from storage.chat.feedback import NewFeedback, Rating

MAX_COMMENT_LENGTH = 4000
MAX_ANSWER_LENGTH = 32_000
MAX_DOCUMENTS = 100
NO_TRACE = "0" * 32  # https://www.w3.org/TR/trace-context/#trace-id


def _trace_id(value: str) -> str:
    if value == NO_TRACE:
        msg = "must not be all zeros"
        raise ValueError(msg)
    return value


TraceId = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{32}$",
        max_length=32,
        description="`trace_id` of the answer.",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
        json_schema_extra={"not": {"const": NO_TRACE}},
    ),
    AfterValidator(_trace_id),
]
FeedbackId = Annotated[Text, Field(min_length=1, max_length=64, json_schema_extra={"pattern": NO_NUL})]


class FeedbackBody(BaseModel):
    """A rating of an answer; a later one for the same trace replaces it."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "rating": "up"},
                {
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "rating": "down",
                    "comment": "That is the port of version 1.",
                    "question": "How do I change the port?",
                    "answer": "Set `PORT` [1].",
                    "document_ids": ["489441fb-b0ca-50fe-961b-a2cef962d1ff"],
                },
            ]
        },
    )

    trace_id: TraceId
    rating: Rating
    comment: Annotated[Text, Field(max_length=MAX_COMMENT_LENGTH, json_schema_extra={"pattern": NO_NUL})] | None = None
    question: Annotated[Text, Field(max_length=MAX_QUESTION_LENGTH, json_schema_extra={"pattern": NO_NUL})] | None = (
        Field(None, description="What was asked. This and the rest: of answers that no conversation keeps.")
    )
    answer: Annotated[str, Field(max_length=MAX_ANSWER_LENGTH)] | None = None  # models write what the store cleans
    document_ids: list[DocumentId] | None = Field(
        None, max_length=MAX_DOCUMENTS, fail_fast=True, description="Of the documents that the answer cites."
    )
    collection: CollectionName | None = Field(None, description="The collection that was asked.")

    def to_feedback(self) -> NewFeedback:
        """Return the rating as storage takes it."""
        told: dict[str, Any] = self.model_dump(exclude={"document_ids"})
        return NewFeedback(**told, document_ids=None if self.document_ids is None else tuple(self.document_ids))


class FeedbackQuery(PageQuery):
    """Which ratings; each comes with its answer, so pages are shorter than those of other lists."""

    limit: int = Field(50, ge=1, le=100, description="Items of a page, at the most.")
    rating: Rating | None = Field(None, description="Unset: all.")


class RatingOut(BaseModel):
    """A stored rating."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    trace_id: str
    rating: Rating
    created_at: datetime = Field(description="When the trace was first rated.")
    updated_at: datetime = Field(description="When its rating was last given.")


class FeedbackOut(RatingOut):
    """A rating with its answer, as far as that is known."""

    comment: str | None
    question: str | None = Field(description="Of a conversation's answer: as it was searched for.")
    answer: str | None
    document_ids: list[str] | None = Field(description="Of the cited documents; null where they are not known.")
    conversation_id: str | None = Field(description="Null where no conversation keeps the answer.")
    collection: str | None
    generation: str | None
    model: str | None
    answer_id: str | None = Field(
        description="Its id in `GET /documents/{id}/answers` of these documents; null where that is not recorded."
    )
