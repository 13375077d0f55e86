"""Who may read a document, as clients set and ask it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.api.schemas.fields import NO_NUL, CollectionName, DocumentId, Text
from storage.documents.readers import MAX_READER_BYTES, MAX_READERS, checked_readers
from storage.errors import InvalidReaders
from storage.generation import DEFAULT_COLLECTION

MAX_GROUPS = 1000
READER = r"^(\*|(user|group):[^\x00-\x1f\x7f]+)$"


def _readers(value: list[str]) -> list[str]:
    try:
        return list(checked_readers(value))
    except InvalidReaders as exc:
        raise ValueError(str(exc)) from exc


Readers = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=MAX_READER_BYTES, json_schema_extra={"pattern": READER})]],
    Field(max_length=MAX_READERS),  # before each is looked at: there may be a hundred thousand
    AfterValidator(_readers),
    Field(
        description="`*` is everybody in the tenant, `user:NAME` a person, `group:NAME` a group; none: administrators.",
        examples=[["user:ada", "group:engineering"]],
    ),
]


class ReadersBody(BaseModel):
    """Who may read a document from now on."""

    model_config = ConfigDict(strict=True, extra="forbid")
    readers: Readers


class ReadersOut(BaseModel):
    """Who may read a document."""

    document_id: str
    readers: list[str]


class ExplainQuery(BaseModel):
    """Which document, and for whom."""

    model_config = ConfigDict(extra="forbid")
    document_id: DocumentId
    collection: CollectionName = DEFAULT_COLLECTION
    subject: Annotated[str, Field(min_length=1, max_length=MAX_READER_BYTES, pattern=NO_NUL)]
    groups: Annotated[str, Field(max_length=16_384, pattern=NO_NUL)] = Field(
        "", description="The subject's groups, separated by commas.", examples=["engineering,support"]
    )

    @property
    def group_names(self) -> tuple[str, ...]:
        """The names of the groups."""
        return tuple(filter(None, (name.strip() for name in self.groups.split(","))))[:MAX_GROUPS]


class ExplanationOut(BaseModel):
    """Why somebody may read a document, or not."""

    model_config = ConfigDict(from_attributes=True)
    document_id: str
    collection: str
    subject: str
    groups: list[str]
    readers: list[str]
    matched: list[str] = Field(description="Those of the readers that let the subject in.")
    allowed: bool
