"""Problems (RFC 9457)."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ProblemOut(BaseModel):
    """RFC 9457."""

    class FieldErrorOut(BaseModel):
        """A part of the request that is wrong."""

        field: str
        reason: str

    type: str = Field(examples=["/problems/collection-not-found"])
    title: str
    status: int
    detail: str
    request_id: str
    trace_id: str | None
    errors: list[FieldErrorOut]
