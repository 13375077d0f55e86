"""Requests as clients write them, and lists as they read them; `answer_schemas` has the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Header
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from server.answers import Question
from storage.collections.collections import NAME_PATTERN
from storage.search.filters import FilterGroup

LONGEST_QUESTION = 8000
DEEPEST_FILTER = 8
MOST_FILTERS = 200
MOST_VALUES = 1000
DEFAULT_COLLECTION = "default"
Item = TypeVar("Item")
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255,
        description="The same key with the same request gets the same answer, for a day; it joins one being written.",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]


def _without_nul(value: str) -> str:
    if "\0" in value:
        msg = "must not contain a NUL character"
        raise ValueError(msg)
    return value


def _whole(value: object) -> object:
    return int(value) if type(value) is float and value.is_integer() else value


def _question(value: str) -> str:
    stripped = _without_nul(value).strip()
    if not stripped:
        msg = "must not be empty"
        raise ValueError(msg)
    if len(stripped) > LONGEST_QUESTION:
        msg = f"must have at most {LONGEST_QUESTION} characters"
        raise ValueError(msg)
    return stripped


def _bounded_filters(value: object) -> object:
    """Refuse what is too deep or too much before anything else looks at it."""
    for count, (depth, node) in enumerate(_nodes(value, depth=1)):
        if depth > DEEPEST_FILTER and isinstance(node, Mapping) and "filters" in node:
            msg = f"must not be nested deeper than {DEEPEST_FILTER} levels"
            raise ValueError(msg)
        if count > MOST_FILTERS:
            msg = f"must not hold more than {MOST_FILTERS} conditions"
            raise ValueError(msg)
        if not isinstance(node, Mapping):
            continue
        values = node.get("value")
        if isinstance(values, list) and len(values) > MOST_VALUES:
            msg = f"must not list more than {MOST_VALUES} values in a condition"
            raise ValueError(msg)
        if len(node) > 3:  # noqa: PLR2004 (key, value, operator)
            msg = "has a condition with unknown members; there are key, value and operator, or filters and condition"
            raise ValueError(msg)
    return value


def _nodes(node: object, *, depth: int) -> Iterator[tuple[int, object]]:
    yield depth, node
    if isinstance(node, Mapping) and isinstance(inner := node.get("filters"), list):
        for child in inner:
            yield from _nodes(child, depth=depth + 1)


Whole = BeforeValidator(_whole)  # JSON has one kind of number: 8.0 is 8
NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, AfterValidator(_without_nul)]
CollectionName = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=63, examples=["default"])]
DocumentId = Annotated[Text, Field(min_length=1, max_length=512, json_schema_extra={"pattern": NO_NUL})]
ConversationId = Annotated[Text, Field(min_length=1, max_length=64, json_schema_extra={"pattern": NO_NUL})]
Cursor = Annotated[Text, Field(max_length=2048, json_schema_extra={"pattern": NO_NUL})]


class SearchOptions(BaseModel):
    """How passages are found. Values must have the JSON type asked for: `8` is a number, `"8"` is not."""

    model_config = ConfigDict(
        strict=True,  # a string where a number belongs is a client's mistake, and hides others
        extra="forbid",
        allow_inf_nan=False,
    )

    k: Annotated[int, Field(ge=1, le=100), Whole] = Field(8, description="Passages given to the model.")
    mode: str = Field(
        "hybrid",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        max_length=64,
        description="`hybrid`, `vector`, `keyword`, `fusion`, `window`, `auto_merging`, `sub_question`, `router`, "
        "`summary` or an engine of your own; in `/chat` also `context`, `simple`, `agent`.",
    )
    filters: Annotated[FilterGroup | None, BeforeValidator(_bounded_filters)] = Field(
        None, description='LlamaIndex `MetadataFilters`; a value\'s JSON type counts: `10` does not match `"10"`.'
    )
    document_ids: list[DocumentId] | None = Field(
        None, max_length=1000, fail_fast=True, description="Search these documents only."
    )
    min_score: float | None = Field(
        None, ge=0, le=1, description="Bar for a passage's cosine similarity; unset: the server's."
    )
    max_per_document: Annotated[int, Field(ge=1, le=100), Whole] | None = Field(
        None, description="Passages of one document at the most; unset: the server's."
    )
    near_duplicates: Literal["drop", "keep"] | None = Field(
        None, description="`drop`: leave out passages that say again what a better one says; unset: the server's."
    )
    join_neighbours: bool | None = Field(
        None, description="Make one passage of chunks that follow each other; unset: the server's."
    )
    rerank: bool | None = Field(None, description="Let a reranker order the passages; unset: as the server is set.")


QuestionText = Annotated[
    str,
    AfterValidator(_question),
    Field(
        description="Surrounding white space does not count.",
        json_schema_extra={
            "minLength": 1,
            "maxLength": LONGEST_QUESTION,
            "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$",
        },
    ),
]


class AskingOptions(SearchOptions):
    """How to answer."""

    temperature: float | None = Field(None, ge=0, le=2, description="Unset: the server's.")
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000), Whole] | None = Field(
        None, description="Longest answer, in tokens; unset: the server's."
    )
    stream: bool = Field(False, description="Answer as a stream.")

    def question_about(self, text: str, *, collection: str) -> Question:
        """Return a question with these options, as the rest of the server knows it."""
        return Question(
            question=text,
            collection=collection,
            k=self.k,
            mode=self.mode,
            filters=self.filters,
            document_ids=None if self.document_ids is None else tuple(self.document_ids),
            min_score=self.min_score,
            max_per_document=self.max_per_document,
            near_duplicates=self.near_duplicates,
            join_neighbours=self.join_neighbours,
            rerank=self.rerank,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )


class QuestionBody(AskingOptions):
    """A question and how to answer it. Values must have the JSON type asked for: `8` is a number, `"8"` is not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"question": "How do I change the port?"},
                {
                    "question": "Which settings bound a request?",
                    "collection": "default",
                    "k": 4,
                    "mode": "hybrid",
                    "filters": {"filters": [{"key": "lang", "value": "en", "operator": "=="}], "condition": "and"},
                },
            ]
        },
    )

    question: QuestionText
    collection: CollectionName = DEFAULT_COLLECTION

    def to_question(self) -> Question:
        """Return the question as the rest of the server knows it."""
        return self.question_about(self.question, collection=self.collection)


class ChatBody(AskingOptions):
    """A message within a conversation, and how to answer it; values must have the JSON type asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"message": "How do I change the port?"},
                {"message": "And the host?", "conversation_id": "5f0c9c0e-7d0b-4e57-9f0e-1f6a2f4d3c11"},
            ]
        },
    )

    message: QuestionText
    conversation_id: ConversationId | None = Field(None, description="Unset: a new conversation begins.")
    collection: CollectionName | None = Field(
        None, description="Of a new conversation; unset: `default`. An earlier one keeps its own."
    )

    def to_question(self) -> Question:
        """Return the message as the rest of the server knows it."""
        return self.question_about(self.message, collection=self.collection or DEFAULT_COLLECTION)


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(100, ge=1, le=1000, description="Items of a page, at the most.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the page before.")


class DocumentsQuery(PageQuery):
    """Which documents."""

    collection: CollectionName = DEFAULT_COLLECTION


class DocumentQuery(BaseModel):
    """Where to look for a document."""

    model_config = ConfigDict(extra="forbid")
    collection: CollectionName | None = Field(None, description="Unset: any collection.")


class ConversationOut(BaseModel):
    """A conversation."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    title: str = Field(description="The beginning of its first message, until it is given another.")
    collection: str
    created_at: datetime
    updated_at: datetime


class MessageOut(BaseModel):
    """What somebody said in a conversation."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    role: Literal["user", "assistant"]
    content: str = Field(description="Of an answer that was broken off, what there was of it.")
    state: Literal["running", "complete", "failed", "abandoned"] = Field(
        description="What became of the question; only `complete` ones are read by later turns."
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
    """A conversation with a page of what was said in it, the oldest first."""

    messages: list[MessageOut]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class TitleBody(BaseModel):
    """A conversation's new title."""

    model_config = ConfigDict(strict=True, extra="forbid")
    title: Annotated[Text, Field(min_length=1, max_length=200, json_schema_extra={"pattern": NO_NUL})]


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


class PageOut(BaseModel, Generic[Item]):
    """A page of a list."""

    model_config = ConfigDict(from_attributes=True)
    items: list[Item]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


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
