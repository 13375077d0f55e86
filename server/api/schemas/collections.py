"""Collections as clients make them, generations as they read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from server.api.schemas.fields import (
    NO_NUL,
    CollectionName,
    Text,
    Whole,
)
from server.services.collections import NewCollection


class CollectionOut(BaseModel):
    """A collection."""

    model_config = ConfigDict(from_attributes=True)
    name: str = Field(examples=["default"])
    generation: str = Field(description="The one that answers now.")
    documents: int
    chunks: int
    embedding_model: str
    dimension: int
    language: str
    chunk_tokens: int
    table: str = Field(description="What LlamaIndex's `PGVectorStore` opens, in the schema `footnote`.")
    created_at: datetime


class CollectionBody(BaseModel):
    """A collection to be made, for the embedding model that the server is configured with."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"examples": [{"name": "handbook"}, {"name": "handbuch", "language": "german"}]},
    )
    name: CollectionName
    language: str | None = Field(
        None,
        pattern=r"^[a-z_]{1,63}$",
        description="Text search configuration of PostgreSQL; unset: as the settings have it.",
    )
    chunk_tokens: Annotated[int, Field(ge=16, le=100_000), Whole] | None = Field(
        None, description="Tokens of a chunk; unset: as the settings have it. No more than the model reads."
    )
    chunk_overlap: Annotated[int, Field(ge=0, le=10_000), Whole] | None = Field(
        None, description="Tokens that a chunk repeats of the one before; unset: as the settings have it."
    )

    def to_collection(self) -> NewCollection:
        """Return it as the rest of the server knows it."""
        return NewCollection(self.name, self.language, self.chunk_tokens, self.chunk_overlap)


class GenerationOut(BaseModel):
    """A generation of a collection."""

    model_config = ConfigDict(from_attributes=True)
    name: str = Field(examples=["2"])
    state: Literal["building", "ready", "active", "retired", "failed"] = Field(description="`active` answers.")
    documents: int
    chunks: int
    embedding_model: str
    dimension: int
    language: str
    chunk_tokens: int
    chunk_overlap: int
    table: str = Field(description="What LlamaIndex's `PGVectorStore` opens, in the schema `footnote`.")
    report: dict[str, Any] | None = Field(description="What the build did, and what a gate thought of it.")
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None


class ActivationBody(BaseModel):
    """Which generation shall answer."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"generation": "2"}]})
    generation: Annotated[Text, Field(min_length=1, max_length=20, json_schema_extra={"pattern": NO_NUL})]


class ActivationOut(BaseModel):
    """A generation that answers from now on."""

    model_config = ConfigDict(from_attributes=True)
    collection: str
    generation: str = Field(description="The one that answers now.")
    before: str = Field(description="The one that answered before.")
    job_id: UUID | None = Field(
        description="The job that brings what was changed since into the one that answers; null where none was before."
    )
