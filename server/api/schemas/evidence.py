"""Answers that showed a document, as clients read them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from server.api.schemas.fields import CollectionName
from server.api.schemas.pages import PageQuery
from storage.access.evidence import DocumentAnswer, Operation
from storage.generation import DEFAULT_COLLECTION


class DocumentAnswersQuery(PageQuery):
    """Which answers that showed a document."""

    collection: CollectionName = DEFAULT_COLLECTION
    cited: bool | None = Field(None, description="Only those that point at it, or only the others; unset: both.")


class AnswerRatingOut(BaseModel):
    """What somebody thought of an answer."""

    rating: Literal["up", "down"]
    at: datetime


class DocumentAnswerOut(BaseModel):
    """An answer that showed a document; neither its question nor its text is recorded."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    at: datetime = Field(description="When it was asked for.")
    subject: str = Field(description="Who asked.")
    key_id: str | None = Field(description="Of the API key that it was asked with; null: it was none.")
    operation: Operation = Field(description="`retrieve`: passages alone, without an answer.")
    outcome: str = Field(
        description="How it ended: a `finish_reason`, a problem's slug, `cancelled` where its client left.",
        examples=["stop"],
    )
    collection: str
    generation: str
    chunk_ids: list[str] = Field(description="Ids of the document's passages that it showed.")
    chunks: list[int] = Field(description="Indexes of the chunks that they are made of.")
    cited: bool = Field(description="Whether it points at one of them.")
    request_id: str | None
    trace_id: str | None
    conversation_id: UUID | None = Field(description="Null where no conversation keeps it.")
    feedback: AnswerRatingOut | None = Field(description="The last rating of its trace.")

    @classmethod
    def of(cls, answer: DocumentAnswer) -> Self:
        """Return what clients get."""
        rated = None
        if answer.rating is not None and answer.rated_at is not None:
            rated = AnswerRatingOut.model_validate({"rating": answer.rating, "at": answer.rated_at})
        names = cls.model_fields.keys() - {"feedback"}
        return cls(**{name: getattr(answer, name) for name in names}, feedback=rated)
