"""The part of a filter that the GIN index on the metadata supports."""

from __future__ import annotations

import json

from storage.instants import spellings
from storage.search.filters import Filter, FilterGroup, Parameters

MAX_ALTERNATIVES = 100  # each is a separate look-up


def compile_index_filter(group: FilterGroup, parameters: Parameters, *, column: str = "metadata_") -> str | None:
    """Return a necessary condition of the filter that the index supports; None if there is none.

    The index (``jsonb_path_ops``) supports only containment: ``==``, ``in`` and array operators. Use the condition
    together with the exact one of `storage.search.filters.compile_filters`.
    """
    if not _is_served(group):
        return None
    served = [inner for inner in group.filters if _is_served(inner)]
    parts = [
        compile_index_filter(inner, parameters, column=column)
        if isinstance(inner, FilterGroup)
        else _contained(_held(inner) or [], parameters, column)
        for inner in served
    ]
    return f"({f' {group.condition.upper()} '.join(part for part in parts if part)})"


def is_exact(group: FilterGroup) -> bool:
    """Tell whether the index supports the exact condition as it is: ``==`` alone, combined by ``and`` and ``or``."""
    return (
        bool(group.filters)
        and group.condition != "not"
        and all(is_exact(one) if isinstance(one, FilterGroup) else one.operator == "==" for one in group.filters)
    )


def _is_served(item: Filter | FilterGroup) -> bool:
    if isinstance(item, Filter):
        held = _held(item)
        return held is not None and len(held) <= MAX_ALTERNATIVES
    served = [_is_served(inner) for inner in item.filters]
    return {"and": any(served), "or": bool(served) and all(served), "not": False}[item.condition]


def _contained(held: list[dict[str, object]], parameters: Parameters, column: str) -> str:
    each = [f"{column} @> {parameters.bind(json.dumps(metadata), 'text')}::jsonb" for metadata in held]
    return f"({' OR '.join(each)})" if each else "false"


def _held(condition: Filter) -> list[dict[str, object]] | None:
    """Return metadata of which every matching chunk contains at least one; None if unknown."""
    key, operator, value = condition.key, condition.operator, condition.value
    if operator == "==":
        return [{key: each} for each in spellings(value)]
    if operator == "contains":
        return [{key: [each]} for each in spellings(value)]
    if operator == "in" and isinstance(value, list):
        return [{key: each} for one in value for each in spellings(one)]
    if operator == "any" and isinstance(value, list):
        return [{key: [each]} for one in value for each in spellings(one)]
    if operator == "all" and isinstance(value, list):
        certain = [one for one in value if len(spellings(one)) == 1]
        return [{key: certain}] if certain else None
    return None
