"""Metadata filters: LlamaIndex's ``MetadataFilters`` as JSON, compiled to SQL with bound parameters and exact types."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field

from storage.errors import UnsupportedFilter
from storage.instants import spellings, utc

MAX_DEPTH = 16
ARRAY_OPERATORS = {"in", "nin", "any", "all"}
ORDER_OPERATORS = {">", ">=", "<", "<="}
TEXT_OPERATORS = {"text_match", "text_match_insensitive"}

Operator = Literal[
    "==", "!=", ">", ">=", "<", "<=", "in", "nin", "any", "all", "contains",
    "text_match", "text_match_insensitive", "is_empty",
]  # fmt: skip
Scalar = bool | int | float | str


class Filter(BaseModel):
    """One comparison; values are compared with their JSON type: ``"10"`` is not ``10``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    key: str = Field(min_length=1, max_length=512)
    value: Scalar | list[Scalar] | None = None
    operator: Operator = "=="


class FilterGroup(BaseModel):
    """Comparisons combined by a condition; ``not`` means that none of them holds, as in LlamaIndex."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    filters: list[Filter | FilterGroup] = Field(max_length=100)
    condition: Literal["and", "or", "not"] = "and"


class Parameters:
    """The values bound to a statement, in order; `bind` returns the placeholder."""

    def __init__(self, *values: object) -> None:
        self.values: list[object] = list(values)

    def bind(self, value: object, sql_type: str) -> str:
        """Add a value; return ``$n::type``."""
        self.values.append(value)
        return f"${len(self.values)}::{sql_type}"


def compile_filters(group: FilterGroup, parameters: Parameters, *, column: str = "metadata_", depth: int = 0) -> str:
    """Return a boolean SQL expression over the jsonb `column`, never NULL as that; every key and value is bound.

    A document that lacks the key satisfies ``!=``, ``nin`` and ``is_empty`` only.

    Raises:
        UnsupportedFilter: the nesting is too deep, or an operator does not support its value.

    """
    if depth > MAX_DEPTH:
        msg = f"filters are nested deeper than {MAX_DEPTH} levels"
        raise UnsupportedFilter(msg)
    parts = [
        compile_filters(inner, parameters, column=column, depth=depth + 1)
        if isinstance(inner, FilterGroup)
        else _compare(inner, parameters, column)
        if inner.operator == "=="  # never NULL, and in a form that an index serves
        else f"coalesce({_compare(inner, parameters, column)}, false)"
        for inner in group.filters
    ]
    if not parts:
        return "true"
    if group.condition == "not":
        return f"(NOT ({' OR '.join(parts)}))"
    return f"({f' {group.condition.upper()} '.join(parts)})"


def _compare(condition: Filter, parameters: Parameters, column: str) -> str:  # noqa: PLR0911 (a table of operators)
    operator, value = condition.operator, condition.value
    _check(condition)
    if operator == "==":
        # for a scalar under a key, containment is equality, and the GIN index on the column supports it
        held = (json.dumps({condition.key: each}) for each in spellings(value))
        return _any_of(f"{column} @> {parameters.bind(each, 'jsonb')}" for each in held)
    key = parameters.bind(condition.key, "text")
    field, text = f"({column} -> {key})", f"({column} ->> {key})"
    if operator == "is_empty":
        return f"({field} IS NULL OR {field} IN ('null', '\"\"', '[]'))"
    if operator == "!=":
        return " AND ".join(f"{field} IS DISTINCT FROM {each}" for each in _spelled(value, parameters))
    if operator == "in" or operator == "nin":  # noqa: PLR1714 (mypy narrows the type by comparisons only)
        found = f"coalesce({field} = ANY({_json_array(condition, parameters)}), false)"
        return found if operator == "in" else f"NOT {found}"
    if operator == "any" or operator == "all" or operator == "contains":  # noqa: PLR1714 (see above)
        return f"(jsonb_typeof({field}) = 'array' AND {_holds(field, condition, parameters)})"
    if operator == ">" or operator == ">=" or operator == "<" or operator == "<=":  # noqa: PLR1714 (see above)
        return _order(field, text, operator, value, parameters)
    bound = parameters.bind(value, "text")
    is_text = f"jsonb_typeof({field}) = 'string'"
    if operator == "text_match":
        return f"({is_text} AND position({bound} in {text}) > 0)"
    if operator == "text_match_insensitive":
        return f"({is_text} AND position(lower({bound}) in lower({text})) > 0)"
    assert_never(operator)


def _order(field: str, text: str, operator: str, value: object, parameters: Parameters) -> str:
    if isinstance(value, str):
        bound = parameters.bind(utc(value), "text")
        return f"CASE WHEN jsonb_typeof({field}) = 'string' THEN {text} COLLATE \"C\" {operator} {bound} END"
    bound = parameters.bind(json.dumps(value), "text")
    return f"CASE WHEN jsonb_typeof({field}) = 'number' THEN ({field})::numeric {operator} {bound}::numeric END"


def _check(condition: Filter) -> None:
    operator, value = condition.operator, condition.value
    problem = None
    if operator == "is_empty":
        problem = None if value is None else "takes no value"
    elif operator in ARRAY_OPERATORS:
        problem = None if isinstance(value, list) else "takes a list"
    elif value is None or isinstance(value, list):
        problem = "takes a single value"
    elif operator in ORDER_OPERATORS and isinstance(value, bool):
        problem = "takes a number or a string"
    elif operator in TEXT_OPERATORS and not isinstance(value, str):
        problem = "takes a string"
    for text in (condition.key, *(value if isinstance(value, list) else [value])):
        if isinstance(text, str) and not _is_text(text):
            problem = "has a NUL character or half a surrogate pair in it"
        if isinstance(text, float) and text - text != 0:
            problem = "takes finite numbers"
    if problem:
        msg = f"the filter on {condition.key[:80]!r}: operator {operator!r} {problem}"
        raise UnsupportedFilter(msg.encode("utf-8", "replace").decode())


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _holds(field: str, condition: Filter, parameters: Parameters) -> str:
    if condition.operator == "any":
        return f"{field} @> ANY({_json_array(condition, parameters)})"
    values = condition.value if isinstance(condition.value, list) else [condition.value]
    each = [_any_of(f"{field} @> {spelled}" for spelled in _spelled(value, parameters)) for value in values]
    return " AND ".join(each) or "true"


def _any_of(conditions: Iterable[str]) -> str:
    return f"({' OR '.join(conditions)})"


def _spelled(value: object, parameters: Parameters) -> list[str]:
    return [_json(each, parameters) for each in spellings(value)]


def _json(value: object, parameters: Parameters) -> str:
    return parameters.bind(json.dumps(value), "text") + "::jsonb"


def _json_array(condition: Filter, parameters: Parameters) -> str:
    values = condition.value if isinstance(condition.value, list) else []
    return parameters.bind([json.dumps(each) for value in values for each in spellings(value)], "text[]") + "::jsonb[]"
