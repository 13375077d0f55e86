"""JSON and JSON Lines as text: ``path.to.key: value`` lines, one paragraph for each record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.data_uris import cut_data
from ingestion.readers.encodings.decoding import Decoded, decode
from ingestion.readers.records.lenient_json import without_extras
from ingestion.readers.values import WrittenNumber, as_json
from ingestion.types import Extracted, Json, ReadOptions, ReadWarning

_TITLES = ("title", "name", "subject", "headline")
_BODIES = ("text", "content", "body", "page_content")
_GAP = re.compile(r"[\s,\ufeff\x1e]*")  # between records
_SHOWN = 10  # numbers of lines in a warning


@dataclass(frozen=True, slots=True)
class _Lines:
    """Records, one a line, and the numbers of lines that are none."""

    records: list[object]
    bad: list[int]


def read_json(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read JSON; a top-level ``title`` is the title, ``text`` the prose, ``metadata`` the metadata.

    Comments and commas before a closing bracket are read over. Records one a line are read as such; what is no JSON at
    all, or nested too deeply, is text.
    """
    decoded = decode(data, language=options.language)
    try:
        value = _parsed(decoded.text)
    except RecursionError:
        return _as_text(decoded, name, "It is nested too deeply to tell its values apart and was read as text.")
    except ValueError as exc:
        lines = _lines(decoded.text)
        if len(lines.records) > 1 and len(lines.records) >= len(lines.bad):
            return _of_lines(decoded, lines, name)
        if records := _one_after_another(decoded.text):
            return _extracted(decoded, records, name)
        return _as_text(decoded, name, f"It is not valid JSON{_line_of(exc)} and was read as text.")
    if not isinstance(value, dict):
        records = value if isinstance(value, list) else [value]
        return _extracted(decoded, records, name)
    title = next((one_line(value[key]) for key in _TITLES if isinstance(value.get(key), str)), "")
    metadata, warnings = _metadata(value)
    text, cut = cut_data(clean("\n\n".join(_paragraphs([value]))))
    return Extracted(
        text, title=title or name_as_title(name), metadata=metadata, warnings=(*decoded.warnings, *warnings, *cut)
    )


def read_jsonl(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read JSON Lines, one record a line; a line that is none is said and the rest read.

    Raises:
        Unreadable: no line is valid JSON.

    """
    decoded = decode(data, language=options.language)
    lines = _lines(decoded.text)
    if lines.bad and (records := _one_after_another(decoded.text)):
        return _extracted(decoded, records, name)
    if not lines.records:
        try:
            return _extracted(decoded, [_parsed(decoded.text)], name)  # with comments
        except (ValueError, RecursionError) as exc:
            msg = f"not valid JSON, line {lines.bad[0] if lines.bad else 1}"
            raise Unreadable(msg) from exc
    return _of_lines(decoded, lines, name)


def _parsed(text: str) -> object:
    """Parse JSON.

    Raises:
        ValueError: it is not valid, even without comments and commas that should not be there.
        RecursionError: it is nested too deeply.

    """
    text = text.lstrip("\ufeff")
    try:
        return _loads(text)
    except json.JSONDecodeError as exc:
        lenient = without_extras(text)
        if lenient == text:
            raise
        try:
            return _loads(lenient)
        except json.JSONDecodeError:
            raise exc from None


def _loads(text: str) -> object:
    return _decoder().decode(text)


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_with_all_values,
        parse_int=WrittenNumber,
        parse_float=WrittenNumber,
        parse_constant=WrittenNumber,
        strict=False,
    )


def _with_all_values(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object; a name that is there again gets a number, ``size (2)``, so that no value is lost."""
    found: dict[str, object] = {}
    for name, value in pairs:
        free, count = name, 1
        while free in found:
            count += 1
            free = f"{name} ({count})"
        found[free] = value
    return found


def _one_after_another(text: str) -> list[object]:
    """Return records that are written over many lines each, one after another; none if anything else is there."""
    decoder, records = _decoder(), []
    at, end = 0, len(text)
    while at < end:
        gap = _GAP.match(text, at)
        at = gap.end() if gap else at
        if at == end:
            break
        try:
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        records.append(record)
    return records


def _lines(text: str) -> _Lines:
    found = _Lines([], [])
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip(" \t\r\ufeff\x1e,") or line.lstrip().startswith(("//", "#")):
            continue
        try:
            found.records.append(_parsed(line.strip(" \t\r\ufeff\x1e").rstrip(",")))
        except (ValueError, RecursionError):
            found.bad.append(number)
    return found


def _of_lines(decoded: Decoded, lines: _Lines, name: PurePath) -> Extracted:
    extracted = _extracted(decoded, lines.records, name)
    if not lines.bad:
        return extracted
    shown = ", ".join(map(str, lines.bad[:_SHOWN])) + (" and more" if len(lines.bad) > _SHOWN else "")
    is_one = len(lines.bad) == 1
    detail = f"{'Line' if is_one else 'Lines'} {shown} {'is' if is_one else 'are'} not valid JSON and left out."
    return Extracted(
        extracted.text, title=extracted.title, warnings=(*extracted.warnings, ReadWarning("row-skipped", detail))
    )


def _extracted(decoded: Decoded, records: Sequence[object], name: PurePath) -> Extracted:
    text, cut = cut_data(clean("\n\n".join(part for part in _paragraphs(records) if part)))
    return Extracted(text, title=name_as_title(name), warnings=(*decoded.warnings, *cut))


def _as_text(decoded: Decoded, name: PurePath, detail: str) -> Extracted:
    text, cut = cut_data(clean(decoded.text))
    warnings = (*decoded.warnings, ReadWarning("part-unreadable", detail), *cut)
    return Extracted(text, title=name_as_title(name), warnings=warnings)


def _line_of(exc: ValueError) -> str:
    return f" (line {exc.lineno})" if isinstance(exc, json.JSONDecodeError) else ""


def _metadata(record: dict[str, object]) -> tuple[dict[str, Json], tuple[ReadWarning, ...]]:
    given = record.get("metadata")
    if not isinstance(given, dict):
        return {}, ()
    typed: dict[str, Json] = {}
    lost = 0
    for key, value in given.items():
        try:
            typed[clean(str(key))] = as_json(value, depth=1)
        except ValueError:
            lost += 1
    detail = f"{lost} of its metadata's values {'is' if lost == 1 else 'are'} nested too deeply and no metadata."
    return typed, (ReadWarning("part-unreadable", detail),) if lost else ()


def _paragraphs(records: Sequence[object]) -> Iterator[str]:
    for record in records:
        prose: list[str] = []
        rest = record
        if isinstance(record, dict):
            prose = [record[key].strip() for key in _BODIES if isinstance(record.get(key), str)]
            rest = {key: value for key, value in record.items() if not (key in _BODIES and isinstance(value, str))}
        yield "\n\n".join(part for part in ("\n".join(_values(rest)), *prose) if part)


def _values(value: object) -> Iterator[str]:
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
