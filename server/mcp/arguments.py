"""The arguments of tools: validated as strictly as HTTP requests, and published as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import JsonSchemaMode

from server.answers import Question
from server.api.error_handlers import field_errors
from server.api.schemas.fields import CollectionName, Cursor, DocumentId
from server.api.schemas.questions import QuestionBody, SearchOptions, with_modes
from storage.generation import DEFAULT_COLLECTION

MAX_CHARACTERS = 100_000
MAX_ERRORS = 5
SEARCH_FIELDS = ("question", "collection", *SearchOptions.model_fields)
ASK_FIELDS = (*SEARCH_FIELDS, "temperature", "max_tokens")
Arguments = Mapping[str, object]
Model = TypeVar("Model", bound=BaseModel)


class InvalidArguments(ValueError):
    """A tool's arguments are invalid; the message says what to change."""


class ListArguments(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(strict=True, extra="forbid")
    limit: int = Field(100, ge=1, le=1000, description="Collections of a page, at the most.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the page before.")


class DocumentArguments(BaseModel):
    """Which part of which document."""

    model_config = ConfigDict(strict=True, extra="forbid")
    document_id: DocumentId = Field(description="`document_id` of a passage.")
    collection: CollectionName = Field(DEFAULT_COLLECTION, description="The collection that has it.")
    offset: int = Field(0, ge=0, le=1_000_000_000, description="First character; `next_offset` of the part before.")
    max_characters: int = Field(20_000, ge=1, le=MAX_CHARACTERS, description="Characters of the part, at the most.")


def read_question(arguments: Arguments, *, fields: tuple[str, ...]) -> Question:
    """Return the arguments as a question.

    Raises:
        InvalidArguments: a value has the wrong type or is out of bounds, or a name is not one of `fields`.

    """
    return read(QuestionBody, arguments, fields=fields).to_question()


def read(model: type[Model], arguments: Arguments, *, fields: tuple[str, ...] = ()) -> Model:
    """Return the arguments as a model, of whose fields only `fields` are accepted, if given; see `read_question`."""
    known = fields or tuple(model.model_fields)
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        msg = f"{unknown[0][:80]}: is no argument of this tool; there are: {', '.join(known)}"
        raise InvalidArguments(msg)
    try:
        return model.model_validate(arguments)
    except ValidationError as exc:
        # FastAPI puts the part of the request first, and so does the reader of its errors
        entries = [{**entry, "loc": ("arguments", *entry["loc"])} for entry in exc.errors(include_url=False)]
        errors = field_errors(entries, body=arguments)[:MAX_ERRORS]
        raise InvalidArguments("; ".join(f"{error.field}: {error.reason}" for error in errors)) from None


def question_schema(fields: tuple[str, ...], *, plugged_in: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema of a question with these fields; `filters` without the groups that groups may hold.

    Hosts hand it to language models, and many of those cannot read a schema that refers to itself.
    """
    whole = QuestionBody.model_json_schema()
    properties = {name: whole["properties"][name] for name in fields}
    properties["mode"] = with_modes(properties["mode"], plugged_in)
    group, one = whole["$defs"]["FilterGroup"], whole["$defs"]["Filter"]
    filters = {**group["properties"], "filters": {**group["properties"]["filters"], "items": one}}
    hint = (
        'Only passages with such metadata: {"filters": [{"key": "lang", "value": "en"}]}. A value\'s JSON type counts.'
    )
    properties["filters"] = {**group, "properties": filters, "description": hint}
    return _tidied(
        {"type": "object", "properties": properties, "required": ["question"], "additionalProperties": False}
    )


def schema(model: type[BaseModel], *, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
    """Return a model's JSON Schema as clients get it."""
    return _tidied(model.model_json_schema(mode=mode))


def _tidied(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is redundant for clients: titles, and the pattern that forbids NUL."""
    return {
        key: {name: _tidied(inner) for name, inner in value.items()}
        if key in {"properties", "$defs"}
        else _tidied_value(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "pattern" and r"\x00" in str(value))
    }


def _tidied_value(value: Any) -> Any:  # noqa: ANN401 (any part of a schema)
    if isinstance(value, list):
        return [_tidied_value(item) for item in value]
    return _tidied(value) if isinstance(value, dict) else value
