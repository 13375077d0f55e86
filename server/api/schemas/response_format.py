"""The form of an answer: text, or JSON by a schema that the request brings."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from server.json_schemas import sound_schema


class JsonSchemaIn(BaseModel):
    """A JSON schema with a name, as OpenAI's protocol has it. `strict` and `description` are accepted."""

    model_config = ConfigDict(strict=True)
    name: str = Field("answer", min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    json_schema: Annotated[dict[str, Any], AfterValidator(sound_schema)] = Field(
        alias="schema", description="32,000 characters and 32 levels at the most; references are `#/…` only."
    )


class ResponseFormat(BaseModel):
    """`text`; `json_schema`: JSON by a schema; `json_object`: any JSON object."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "if": {"properties": {"type": {"const": "json_schema"}}},
            "then": {"required": ["json_schema"], "properties": {"json_schema": {"type": "object"}}},
        },
    )
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaIn | None = None

    @model_validator(mode="after")
    def _has_what_it_names(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            msg = "the type json_schema needs the member json_schema with a schema"
            raise ValueError(msg)
        return self

    @property
    def schema_text(self) -> str | None:
        """The schema as JSON; None: the answer is text."""
        if self.type == "text":
            return None
        schema = self.json_schema.json_schema if self.json_schema else {"type": "object"}
        return json.dumps(schema, ensure_ascii=False, sort_keys=False)
