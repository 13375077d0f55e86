"""Tenants, as clients make and read them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from storage.generation import NAME_PATTERN

TenantName = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=63, examples=["acme"])]


class TenantBody(BaseModel):
    """A tenant to make."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"id": "acme"}]})
    id: TenantName


class TenantOut(BaseModel):
    """A tenant."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    status: Literal["active", "suspended", "deleting"] = Field(
        description="Requests of an `active` one are answered; `deleting`: it is half deleted, delete it again."
    )
    created_at: AwareDatetime
    collections: int
    documents: int = Field(description="Those that answer.")
    jobs: int = Field(description="Those that have not ended.")


class RemovedOut(BaseModel):
    """What was deleted with a tenant."""

    deleted: str = Field(description="The tenant's name, which is free now.")
    counts: dict[str, int] = Field(description="How much there was of each: documents, chunks, conversations, …")
