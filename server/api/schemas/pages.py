"""Lists, a page at a time."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from server.api.schemas.fields import (
    Cursor,
)

Item = TypeVar("Item")


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(100, ge=1, le=1000, description="Items of a page, at the most.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the page before.")


class PageOut(BaseModel, Generic[Item]):
    """A page of a list."""

    model_config = ConfigDict(from_attributes=True)
    items: list[Item]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")
