"""JSON and JSON Lines as text: ``path.to.key: value`` lines, one paragraph for each record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, decode, name_as_title, one_line
from ingestion.readers.values import WrittenNumber, as_json
from ingestion.types import Extracted, Json, ReadOptions

_TITLES = ("title", "name", "subject", "headline")
_BODIES = ("text", "content", "body", "page_content")


def read_json(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read JSON; a top-level ``title`` is the title, ``text`` the prose, ``metadata`` the metadata."""
    value = _parsed(decode(data), where="")
    if not isinstance(value, dict):
        records = value if isinstance(value, list) else [value]
        return Extracted(clean("\n\n".join(_paragraphs(records))), title=name_as_title(name))
    title = next((one_line(value[key]) for key in _TITLES if isinstance(value.get(key), str)), "")
    text = clean("\n\n".join(_paragraphs([value])))
    return Extracted(text, title=title or name_as_title(name), metadata=_metadata(value))


def read_jsonl(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read JSON Lines, one record a line."""
    lines = decode(data).split("\n")
    records = (_parsed(line, where=f", line {number}") for number, line in enumerate(lines, 1) if line.strip())
    return Extracted(clean("\n\n".join(_paragraphs(records))), title=name_as_title(name))


def _parsed(text: str, *, where: str) -> object:
    try:
        return json.loads(text.lstrip("\ufeff"), parse_int=WrittenNumber, parse_float=WrittenNumber)
    except RecursionError as exc:
        msg = f"JSON that is nested too deeply{where}"
        raise Unreadable(msg) from exc
    except ValueError as exc:
        place = where or (f", line {exc.lineno}" if isinstance(exc, json.JSONDecodeError) else "")
        msg = f"not valid JSON{place}"
        raise Unreadable(msg) from exc


def _metadata(record: dict[str, object]) -> dict[str, Json]:
    given = record.get("metadata")
    if not isinstance(given, dict):
        return {}
    try:
        typed = as_json(given)
    except ValueError as exc:
        msg = "its metadata is nested too deeply"
        raise Unreadable(msg) from exc
    return typed if isinstance(typed, dict) else {}


def _paragraphs(records: Iterator[object] | list[object]) -> Iterator[str]:
    for record in records:
        prose: list[str] = []
        rest = record
        if isinstance(record, dict):
            prose = [record[key].strip() for key in _BODIES if isinstance(record.get(key), str)]
            rest = {key: value for key, value in record.items() if not (key in _BODIES and isinstance(value, str))}
        yield "\n\n".join(part for part in ("\n".join(_lines(rest)), *prose) if part)


def _lines(value: object) -> Iterator[str]:
    """Yield a line for each value, depth first, without recursion: a file may be nested deeper than Python's limit."""
    stack: list[tuple[str, object]] = [("", value)]
    while stack:
        path, current = stack.pop()
        if isinstance(current, dict):
            stack += [(f"{path}.{key}" if path else str(key), inner) for key, inner in reversed(current.items())]
        elif isinstance(current, list) and any(isinstance(inner, dict | list) for inner in current):
            stack += [(f"{path}[{place}]", inner) for place, inner in reversed(list(enumerate(current)))]
        else:
            shown = ", ".join(map(_shown, current)) if isinstance(current, list) else _shown(current)
            if shown.strip():
                yield f"{path}: {shown}" if path else shown


def _shown(value: object) -> str:
    return {True: "true", False: "false", None: ""}[value] if value is None or isinstance(value, bool) else str(value)
