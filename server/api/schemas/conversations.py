"""Conversations and their messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.api.schemas.fields import (
    NO_NUL,
    Text,
)
from server.api.schemas.pages import PageQuery
from storage.chat.conversations import Sort


class ConversationsQuery(PageQuery):
    """Which conversations."""

    q: Annotated[str, Field(min_length=1, max_length=1000, pattern=NO_NUL)] | None = Field(
        None, description="Only those with this in their title or in a question, in whatever case."
    )
    sort: Sort = Field(
        "-updated_at",
        description="By what; `-` before it: from the last to the first. A cursor is for the order it came with.",
    )


class ConversationOut(BaseModel):
    """A conversation."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    title: str = Field(description="The beginning of its first message, until it is given another.")
    collection: str
    created_at: datetime
    updated_at: datetime


class MessageOut(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    role: Literal["user", "assistant"]
    content: str = Field(description="Of an answer that was broken off, the part that was written.")
    state: Literal["running", "complete", "failed", "abandoned", "stopped"] = Field(
        description="The outcome of the question; later turns read `complete` and `stopped` ones."
    )
    citations: list[dict[str, Any]]
    finish_reason: str | None
    problem: str | None = Field(description="Why there is no answer: the slug of a problem.")
    standalone_question: str | None
    model: str | None
    usage: dict[str, int] | None
    generation: str | None
    trace_id: str | None
    created_at: datetime


class ConversationMessagesOut(ConversationOut):
    """A conversation with a page of its messages, oldest first."""

    messages: list[MessageOut]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class TitleBody(BaseModel):
    """A conversation's new title."""

    model_config = ConfigDict(strict=True, extra="forbid")
    title: Annotated[Text, Field(min_length=1, max_length=200, json_schema_extra={"pattern": NO_NUL})]
