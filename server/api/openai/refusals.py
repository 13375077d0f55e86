"""Refuses requests that cannot be honoured, by the name of the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema


@dataclass(frozen=True, slots=True)
class Only:
    """Annotation of a field that Footnote does not support: it accepts only values that change nothing."""

    accepted: tuple[Any, ...]
    reason: str

    def check(self, value: object) -> object:
        """Return the value if it changes nothing."""
        for harmless in self.accepted:
            if type(value) is type(harmless) and value == harmless:  # True is 1 to Python
                return value
        raise ValueError(self.reason)

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": list(self.accepted), "description": f"Not supported: {self.reason}"}


def fault(path: tuple[str | int, ...], reason: str) -> ValidationError:
    """Return an error that a validator can raise about a part of its value."""
    error = PydanticCustomError("refused", "{reason}", {"reason": reason})
    return ValidationError.from_exception_data("request", [InitErrorDetails(type=error, loc=path, input=None)])


def refusal(reason: str, *, field: str) -> RequestValidationError:
    """Return an error that a handler can raise about a field of the body."""
    entry: Mapping[str, object] = {"type": "refused", "loc": ("body", field), "msg": reason, "input": None}
    return RequestValidationError([entry])
