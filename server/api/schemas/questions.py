"""Questions as clients write them: a search's options, which every door shares, and HTTP's request bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from server.answers import Question
from server.api.schemas.fields import CollectionName, ConversationId, DocumentId, Whole, without_nul
from server.api.schemas.response_format import ResponseFormat
from storage.generation import DEFAULT_COLLECTION
from storage.search.filters import FilterGroup

MAX_QUESTION_LENGTH = 8000
MAX_FILTER_DEPTH = 8
MAX_FILTERS = 200
MAX_VALUES = 1000


OWN_ENGINE = "an engine of your own"


def with_modes(schema: Mapping[str, Any], engines: Sequence[str], chat_engines: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema of `mode` with the names of plug-ins' engines in its description."""
    said = str(schema["description"])
    if engines:
        said = said.replace(OWN_ENGINE, "a plug-in: " + _listed(engines), 1)
    if chat_engines:
        said = said.removesuffix(".") + f", {_listed(chat_engines)}."
    return {**schema, "description": said}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _question(value: str) -> str:
    stripped = without_nul(value).strip()
    if not stripped:
        msg = "must not be empty"
        raise ValueError(msg)
    if len(stripped) > MAX_QUESTION_LENGTH:
        msg = f"must have at most {MAX_QUESTION_LENGTH} characters"
        raise ValueError(msg)
    return stripped


def _bounded_filters(value: object) -> object:
    """Refuse what is too deep or too much before anything else looks at it."""
    for count, (depth, node) in enumerate(_nodes(value, depth=1)):
        if depth > MAX_FILTER_DEPTH and isinstance(node, Mapping) and "filters" in node:
            msg = f"must not be nested deeper than {MAX_FILTER_DEPTH} levels"
            raise ValueError(msg)
        if count > MAX_FILTERS:
            msg = f"must not hold more than {MAX_FILTERS} conditions"
            raise ValueError(msg)
        if not isinstance(node, Mapping):
            continue
        values = node.get("value")
        if isinstance(values, list) and len(values) > MAX_VALUES:
            msg = f"must not list more than {MAX_VALUES} values in a condition"
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


class SearchOptions(BaseModel):
    """How passages are found: the same options, bounds and descriptions for HTTP's, OpenAI's and MCP's clients.

    Values must have the JSON type asked for: `8` is a number, `"8"` is not.
    """

    model_config = ConfigDict(
        strict=True,  # a string where a number belongs is a client's mistake, and hides others
        extra="forbid",
        allow_inf_nan=False,
    )

    k: Annotated[int, Field(ge=1, le=100), Whole] = Field(
        8,
        description="Passages to find; an answer's model gets those that its context window has room for.",
    )
    mode: str = Field(
        "hybrid",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        max_length=64,
        description="`hybrid`, `vector`, `keyword`, `fusion`, `window`, `auto_merging`, `sub_question`, `router`, "
        f"`summary` or {OWN_ENGINE}; in `/chat` also `context`, `simple`, `agent`.",
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

    def question_about(self, text: str, *, collection: str, **further: Any) -> Question:
        """Return a question with these options; `further` are other fields of `Question`."""
        options = {name: getattr(self, name) for name in SearchOptions.model_fields}
        if self.document_ids is not None:
            options["document_ids"] = tuple(self.document_ids)
        return Question(text, collection=collection, **options, **further)


QuestionText = Annotated[
    str,
    AfterValidator(_question),
    Field(
        description="Surrounding white space does not count.",
        json_schema_extra={
            "minLength": 1,
            "maxLength": MAX_QUESTION_LENGTH,
            "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$",
        },
    ),
]
Temperature = Annotated[float, Field(ge=0, le=2)]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000), Whole]


class AskingOptions(SearchOptions):
    """How passages are found, and how the answer is written."""

    temperature: Temperature | None = Field(None, description="Unset: the server's.")
    max_tokens: MaxTokens | None = Field(None, description="Longest answer, in tokens; unset: the server's.")
    stream: bool = Field(False, description="Answer as a stream.")
    explain: bool = Field(
        False, description="Tell in `explanation` what became of every passage that was found, with scores and ranks."
    )

    def question_about(self, text: str, *, collection: str, **further: Any) -> Question:
        """Return a question with these options; `further` are other fields of `Question`."""
        written = {"temperature": self.temperature, "max_tokens": self.max_tokens, "explain": self.explain}
        return super().question_about(text, collection=collection, **written, **further)


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
    response_format: ResponseFormat | None = Field(
        None, description="JSON by a schema instead of a text with citations; in the modes that let the model write."
    )

    def to_question(self) -> Question:
        """Return the question."""
        schema = self.response_format.schema_text if self.response_format else None
        return self.question_about(self.question, collection=self.collection, json_schema=schema)


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
        """Return the message as a question."""
        return self.question_about(self.message, collection=self.collection or DEFAULT_COLLECTION)
