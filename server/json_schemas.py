"""JSON schemas in requests (https://json-schema.org/draft/2020-12): how long, and whether they can be kept to.

The keywords that answers are checked by are looked at. Validating a schema against the meta-schema by a library takes
seconds for what 32,000 characters can hold, on the loop that serves every request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_SCHEMA_LENGTH = 32_000
MAX_DEPTH = 32
TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_OF_NAMES = ("properties", "$defs", "definitions")
_OF_SCHEMAS = ("anyOf", "oneOf", "allOf")


def bounded_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is too long or too deep for a model, or for whoever reads it."""
    if _depth(schema) > MAX_DEPTH:
        msg = f"must not be nested deeper than {MAX_DEPTH} levels"
        raise ValueError(msg)
    if len(json.dumps(schema, ensure_ascii=False)) > MAX_SCHEMA_LENGTH:
        msg = f"must have at most {MAX_SCHEMA_LENGTH} characters"
        raise ValueError(msg)
    if "\\u0000" in json.dumps(schema):
        msg = "must not hold the character NUL"
        raise ValueError(msg)
    return schema


def sound_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse, after `bounded_schema`, a schema that no answer could be checked by."""
    if fault := next(_faults(bounded_schema(schema), "$", schema), None):
        msg = f"is no JSON schema: {fault}"
        raise ValueError(msg)
    return schema


def _faults(schema: object, place: str, root: object) -> Iterator[str]:
    """Yield what is wrong, the first first."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield f"{place} must be an object"
        return
    for key in filter(schema.__contains__, _VALUES):
        is_right, due = _VALUES[key]
        if not is_right(schema[key]):
            yield f"{place}.{key} {due}"
            return
    if "$ref" in schema and not _leads_somewhere(schema["$ref"], root):
        yield f"{place}.$ref points at nothing in the schema"
    for name, inner in _inner(schema):
        yield from _faults(inner, f"{place}.{name}", root)


def _inner(schema: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the schemas in a schema, with their places."""
    for key in filter(schema.__contains__, _OF_NAMES):
        yield from ((f"{key}.{name[:40]}", inner) for name, inner in schema[key].items())
    for key in filter(schema.__contains__, _OF_SCHEMAS):
        yield from ((f"{key}[{number}]", inner) for number, inner in enumerate(schema[key]))
    for key in filter(schema.__contains__, ("items", "additionalProperties")):
        inner = schema[key]
        yield from ((key, each) for each in (inner if isinstance(inner, list) else [inner]))


def _leads_somewhere(pointer: str, root: object) -> bool:
    """Tell whether a reference ends at a schema: not at nothing, and not in a circle of references alone."""
    seen: set[str] = set()
    while pointer not in seen:
        seen.add(pointer)
        found = referred(pointer, root)
        if not isinstance(found, dict):
            return isinstance(found, bool)
        if not isinstance(onwards := found.get("$ref"), str) or len(found) > 1:
            return True
        pointer = onwards
    return False


def referred(pointer: str, root: object) -> object:
    """Return what a pointer into a schema names (RFC 6901, behind ``#``); None where it names nothing."""
    found = root
    for part in pointer.removeprefix("#").split("/")[1:] if pointer.startswith("#") else ("",):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = dict(zip(map(str, range(len(found))), found, strict=True)).get(name)
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _is_type(value: object) -> bool:
    names = value if isinstance(value, list) and value else [value]
    return all(isinstance(name, str) and name in TYPES for name in names)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_within(value: object) -> bool:
    return isinstance(value, str) and value.startswith("#")


_VALUES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "type": (_is_type, f"must be one of {', '.join(sorted(TYPES))}, or a list of them"),
    "enum": (_is_list, "must be a list of values"),
    "required": (_is_names, "must be a list of names"),
    "$ref": (_is_within, "must point within the schema: #/…"),
    **dict.fromkeys(_OF_NAMES, (_is_object, "must be an object")),
    **dict.fromkeys(_OF_SCHEMAS, (_is_list, "must be a list of schemas")),
}
"""What the values of keywords are."""


def _depth(value: object) -> int:
    deepest, layer = 0, [value]
    while layer and deepest <= MAX_DEPTH:
        deepest += 1
        inner = [
            list(each.values()) if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list)
        ]
        layer = [part for parts in inner for part in parts]
    return deepest
