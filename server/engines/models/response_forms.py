"""How a server is asked for JSON by a schema (``response_format`` of OpenAI's protocol), and what it does not take.

https://developers.openai.com/api/docs/guides/structured-outputs: a *strict* schema holds the model to it, but each of
its objects must require all of its members and allow no others; any other schema is refused as strict. Servers that
know no schemas may know ``json_object``. What is refused is left out for that schema from then on, and said in the log:
answers are checked in any case.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog
from cachetools import LRUCache

ANY_OBJECT: Mapping[str, object] = {"type": "object"}
_KEPT = 256
_NESTED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")

_log = structlog.get_logger(__name__)


class ResponseForms:
    """What one server takes, learnt from what it refuses."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._refused: LRUCache[str, int] = LRUCache(_KEPT)  # how many of the first forms of a schema are refused

    def of(self, schema: Mapping[str, object]) -> Iterator[dict[str, object] | None]:
        """Yield the forms to ask in, the most binding first; None: the schema is in the prompt alone.

        To ask for the next one says that the last was refused.
        """
        key = _key(schema)
        forms = _forms(schema)
        for number in range(self._refused.get(key, 0), len(forms)):
            yield forms[number]
            self._refused[key] = number + 1
            _log.warning(
                "the model's server does not take this JSON schema; it is asked less strictly",
                model=self._model,
                refused=_named(forms[number]),
                instead=_named(forms[number + 1]) if number + 1 < len(forms) else None,
            )


def _forms(schema: Mapping[str, object]) -> Sequence[dict[str, object] | None]:
    if schema == ANY_OBJECT:
        return ({"type": "json_object"}, None)
    named: dict[str, Any] = {"name": "answer", "schema": schema}
    loose = {"type": "json_schema", "json_schema": named}
    strict = {"type": "json_schema", "json_schema": {**named, "strict": True}}
    return (*((strict,) if can_be_strict(schema) else ()), loose, {"type": "json_object"}, None)


def can_be_strict(schema: object) -> bool:
    """Tell whether each object in a schema requires all of its members, and allows no others."""
    if not isinstance(schema, Mapping):
        return True
    if _is_object(schema):
        members = schema.get("properties")
        names = set(members) if isinstance(members, Mapping) else set()
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or names != set(
            required if isinstance(required, list) else ()
        ):
            return False
    nested = [each for key in _NESTED if isinstance(inner := schema.get(key), Mapping) for each in inner.values()]
    listed = [each for key in _LISTED if isinstance(inner := schema.get(key), list) for each in inner]
    return all(map(can_be_strict, (*nested, *listed, schema.get("items"))))


def _is_object(schema: Mapping[str, object]) -> bool:
    kind = schema.get("type")
    return kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)


def _named(form: dict[str, Any] | None) -> str:
    if form is None:
        return "the prompt alone"
    strict = form.get("json_schema", {}).get("strict")
    return f"{'strict ' if strict else ''}{form['type']}"


def _key(schema: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
