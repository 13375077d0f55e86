"""Collections and generations, as clients create, activate and read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from server.api.schemas.access import Readers
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
    generation: str = Field(description="The active one.")
    documents: int
    chunks: int
    embedding_model: str
    dimension: int
    language: str
    chunk_tokens: int
    table: str = Field(description="What LlamaIndex's `PGVectorStore` opens, in the schema `footnote`.")
    created_at: datetime
    readers: list[str] = Field(description="Who may read documents that bring no readers of their own.")
    building: str | None = Field(description="The generation that is being built, or whose build was broken off.")


class CollectionBody(BaseModel):
    """A collection to create."""

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
    readers: Readers = Field(["*"], description="Who may read documents that bring no readers of their own.")
    embedding: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$",
        description="Name of its embedding model in the settings (FOOTNOTE_EMBEDDINGS); unset: `default`.",
    )

    def to_collection(self) -> NewCollection:
        """Return the request as the service takes it."""
        return NewCollection(
            self.name, self.language, self.chunk_tokens, self.chunk_overlap, tuple(self.readers), self.embedding
        )


class GenerationOut(BaseModel):
    """A generation of a collection."""

    model_config = ConfigDict(from_attributes=True)
    name: str = Field(examples=["2"])
    state: Literal["building", "ready", "active", "retired", "failed"] = Field(
        description="Questions are answered from the `active` one."
    )
    documents: int
    chunks: int
    embedding_model: str
    dimension: int
    language: str
    chunk_tokens: int
    chunk_overlap: int
    table: str = Field(description="What LlamaIndex's `PGVectorStore` opens, in the schema `footnote`.")
    bytes: int = Field(description="What its chunks and their indexes take on the database's disk.")
    report: dict[str, Any] | None = Field(description="What the build did, and the result of its gate.")
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None


class ActivationBody(BaseModel):
    """The generation to activate."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"generation": "2"}]})
    generation: Annotated[Text, Field(min_length=1, max_length=20, json_schema_extra={"pattern": NO_NUL})]


class ActivationOut(BaseModel):
    """The result of an activation."""

    model_config = ConfigDict(from_attributes=True)
    collection: str
    generation: str = Field(description="The active one.")
    before: str = Field(description="The one that was active before.")
    job_id: UUID | None = Field(
        description="The job that carries over documents changed since the build; null where none was active before."
    )


class SuggestionsQuery(BaseModel):
    """How many suggestions."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(4, ge=1, le=20, description="Questions, at the most.")


class SuggestionOut(BaseModel):
    """A question that one may ask of a collection."""

    model_config = ConfigDict(from_attributes=True)
    question: str = Field(description="In the collection's language where Footnote has words of it, else the heading.")
    heading: str = Field(description="What it was made of.")
    document_id: str = Field(description="Where the heading stands.")
    title: str
