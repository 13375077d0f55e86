"""Documents, as clients upload and read them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import from_json

from ingestion.errors import FetchRefused
from ingestion.identity import OWN_KEYS
from ingestion.web.urls import read_url
from server.api.schemas.access import Readers
from server.api.schemas.fields import NO_NUL, CollectionName, DocumentId, Text
from server.api.schemas.pages import PageQuery
from storage.documents.order import Sort
from storage.documents.sources import MAX_SOURCE_BYTES, normalized
from storage.generation import DEFAULT_COLLECTION

MAX_INT, MAX_BIGINT = 2**31 - 1, 2**63 - 1


class DocumentsQuery(PageQuery):
    """Which documents."""

    collection: CollectionName = DEFAULT_COLLECTION
    parent: DocumentId | None = Field(None, description="Only the attachments of this document, by its id.")
    q: Annotated[str, Field(min_length=1, max_length=1000, pattern=NO_NUL)] | None = Field(
        None, description="Only those with this in their source or title, in whatever case."
    )
    sort: Sort = Field(
        "id", description="By what; `-` before it: from the last to the first. A cursor is for the order it came with."
    )


class ChunksQuery(PageQuery):
    """Which part of a document's chunks."""

    collection: CollectionName = DEFAULT_COLLECTION


class DocumentQuery(BaseModel):
    """Where to look for a document."""

    model_config = ConfigDict(extra="forbid")
    collection: CollectionName = DEFAULT_COLLECTION


class WarningOut(BaseModel):
    """What a reader says of a document."""

    model_config = ConfigDict(from_attributes=True)
    kind: str = Field(examples=["pages-without-text"])
    detail: str
    page: int | None = Field(description="From 1; null if it concerns the whole document, or several pages.")


class RevisionQuery(DocumentQuery):
    """Which version of a document."""

    revision: int | None = Field(None, ge=0, le=MAX_BIGINT, description="Unset: the current one; no other is kept.")


class PictureQuery(RevisionQuery):
    """What to mark on a page: a passage's `start` and `end`."""

    start: int | None = Field(
        None, ge=0, le=MAX_INT, description="Character offset in the document's text; unset: nothing is marked."
    )
    end: int | None = Field(None, ge=0, le=MAX_INT, description="Unset: the end of the page.")


class PageSpanOut(BaseModel):
    """A page; `start` and `end` are character offsets in the document's text."""

    model_config = ConfigDict(from_attributes=True)
    page: int = Field(description="From 1.")
    label: str = Field(description="What the document calls it; else its number.", examples=["iv"])
    start: int
    end: int


class DocumentTextOut(BaseModel):
    """A document's text as it is indexed: a citation's `start` and `end` are offsets in it."""

    model_config = ConfigDict(from_attributes=True)
    document_id: str
    revision: int
    text: str
    pages: list[PageSpanOut]


class ChunkOut(BaseModel):
    """A chunk; `start` and `end` are character offsets in the document's text."""

    model_config = ConfigDict(from_attributes=True)
    node_id: str
    chunk_index: int = Field(description="From 0, in the order of the text.")
    start: int
    end: int = Field(description="Chunks next to each other overlap.")
    heading: str | None
    text: str


class DocumentOut(BaseModel):
    """A document."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    source: str = Field(examples=["docs/configuration.md"])
    title: str
    chunks: int
    bytes: int
    content_hash: str = Field(description="SHA-256 of the bytes, in hex.")
    metadata: dict[str, Any]
    ingested_at: datetime
    collection: str
    revision: int = Field(description="Rises with each version.")
    pages: int = Field(description="How many it has; 0 if its format has none.")
    warnings: list[WarningOut] = Field(description="What its text lacks, or may have wrong.")
    parent: str | None = Field(
        description="The mail that it is an attachment of, by its id; it is replaced and deleted with that one."
    )
    readers: list[str] = Field(description="Who may read it: `*`, `user:NAME`, `group:NAME`.")


MAX_ID_LENGTH = 512  # bytes
MAX_METADATA_LENGTH = 16_384  # bytes of JSON
MAX_METADATA_DEPTH = 16
MAX_KEY_LENGTH = 200
ID_PATTERN = r"^[^\x00-\x20\x7f/\\][^\x00-\x1f\x7f/\\]*$"


def _shown(value: str, *, max_bytes: int) -> str:
    if not value.isprintable():
        msg = "must not hold control characters, or others that are not seen"
        raise ValueError(msg)
    if len(value.encode()) > max_bytes:
        msg = f"must have at most {max_bytes} bytes as UTF-8"
        raise ValueError(msg)
    return value


def _document_id(value: str) -> str:
    if value in {".", ".."}:
        msg = "must be something else than . and .., which addresses do not keep"
        raise ValueError(msg)
    return _shown(value, max_bytes=MAX_ID_LENGTH)


def _source(value: str) -> str:
    source = normalized(value).strip(" ")  # `_shown` refuses any other white space
    if not source:
        msg = "must hold more than blanks"
        raise ValueError(msg)
    return _shown(source, max_bytes=MAX_SOURCE_BYTES)


def _url(value: str) -> str:
    try:
        return _source(read_url(value).url)
    except FetchRefused as exc:
        raise ValueError(str(exc)) from exc


def _parsed(value: object) -> object:
    try:
        return from_json(str(value), allow_inf_nan=False, cache_strings="none")
    except ValueError as exc:
        msg = f"is no JSON: {exc}"
        raise ValueError(msg) from None


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    for key in value:
        if key in OWN_KEYS:
            msg = f"{key!r} is Footnote's own key; take another one"
            raise ValueError(msg)
        if not 1 <= len(key) <= MAX_KEY_LENGTH:
            msg = f"keys have 1 to {MAX_KEY_LENGTH} characters"
            raise ValueError(msg)
    for depth, leaf in _leaves(value, depth=0):
        _require_storable(depth, leaf)
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_METADATA_LENGTH:
        msg = f"must have at most {MAX_METADATA_LENGTH} bytes as JSON"
        raise ValueError(msg)
    return value


def _require_storable(depth: int, leaf: object) -> None:
    if depth > MAX_METADATA_DEPTH:
        msg = f"must not be nested deeper than {MAX_METADATA_DEPTH} levels"
        raise ValueError(msg)
    if isinstance(leaf, str) and "\0" in leaf:
        msg = "must not contain a NUL character"
        raise ValueError(msg)
    if isinstance(leaf, float) and not math.isfinite(leaf):
        msg = "holds a number that is too large"
        raise ValueError(msg)


def _leaves(node: object, *, depth: int) -> Iterator[tuple[int, object]]:
    """Yield every key and value with its depth, down to one level below the deepest allowed."""
    yield depth, node
    if depth > MAX_METADATA_DEPTH:
        return
    if isinstance(node, Mapping):
        for key in node:
            yield depth, key
    inner = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    for child in inner:
        yield from _leaves(child, depth=depth + 1)


NewDocumentId = Annotated[
    Text,
    AfterValidator(_document_id),
    Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN, examples=["handbook-2026"]),
]
SourceName = Annotated[
    Text,
    AfterValidator(_source),
    Field(
        min_length=1, max_length=MAX_SOURCE_BYTES, json_schema_extra={"pattern": NO_NUL}, examples=["hr/handbook.md"]
    ),
]
Title = Annotated[Text, Field(min_length=1, max_length=500, json_schema_extra={"pattern": NO_NUL})]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_metadata),
    Field(examples=[{"year": 2026, "team": "support"}]),
]


class DocumentFields(BaseModel):
    """Fields of an upload, beside its content."""

    model_config = ConfigDict(extra="forbid")
    collection: CollectionName | None = Field(
        None, description="Unset: `default`, which is made when the first document comes."
    )
    metadata: Metadata = Field(
        default_factory=dict, description="A JSON object; questions can be filtered by it, and types count."
    )
    document_id: NewDocumentId | None = Field(
        None, description="Unset: that of the document with this source, else one that follows from the source."
    )
    source: SourceName | None = Field(
        None, description="What citations name, unique in a collection. Unset: the file's name, of a page its URL."
    )
    title: Title | None = Field(None, description="Unset: the document's own.")
    readers: Readers | None = Field(
        None,
        description="Who may read it: `*`, `user:NAME`, `group:NAME`. Unset: as before, else as the collection says.",
    )


class UploadFields(DocumentFields):
    """Fields of a form, beside its file."""

    @field_validator("metadata", "readers", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        return _parsed(value)


class WebPageBody(DocumentFields):
    """A page for a worker to fetch: http or https, from a public address."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.org/handbook.html", "metadata": {"team": "support"}}]},
    )
    url: Annotated[str, AfterValidator(_url), Field(max_length=MAX_SOURCE_BYTES, pattern=r"^[hH][tT][tT][pP][sS]?://")]


class SubmittedOut(BaseModel):
    """The document is queued; once the job has succeeded, questions are answered from it."""

    document_id: str
    job_id: UUID
