"""Parsing a line of a file of golden questions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from relevance.golden import GoldenPassage, GoldenQuestion

WANTED = '{"question": "…", "documents": ["source or id", …]}'
MAX_QUESTION_LENGTH = 8000
MAX_TEXT_LENGTH = 100_000
MAX_NAME_LENGTH = 4000
MAX_ENTRIES = 1000
MAX_GRADE = 1000
MAX_OFFSET = 2**31 - 1
MEMBERS = frozenset(
    {"question", "documents", "grades", "passages", "answers", "unanswerable", "id", "answer", "filters", "kind"}
)
FEEDBACK_MEMBERS = frozenset({"trace_id", "rating", "question", "document_ids"})


class InvalidLine(ValueError):
    """A line is not a golden question; the message says what is expected, and quotes only names of members."""


def parse_members(text: str) -> dict[str, Any]:
    """Parse a JSON object; duplicate members are refused.

    Raises:
        InvalidLine: it is not one.

    """
    try:
        entry = json.loads(text, object_pairs_hook=_members, parse_constant=_refuse_constant)
    except InvalidLine:
        raise
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        msg = f"it is no JSON object; {WANTED} is wanted"
        raise InvalidLine(msg)
    return entry


def is_feedback(members: Mapping[str, Any]) -> bool:
    """Tell whether this is a line of ``python -m storage export-feedback``."""
    return members.keys() >= FEEDBACK_MEMBERS


def parse_feedback(members: Mapping[str, Any]) -> GoldenQuestion | None:
    """Return the golden question in a rated answer; None if it tells nothing.

    The documents that a good answer cites are taken to be right; a bad answer tells nothing.

    Raises:
        InvalidLine: it is not from an export.

    """
    if members["rating"] != "up" or not members["question"] or not members["document_ids"]:
        return None
    return GoldenQuestion(
        question=_text(members, "question", most=MAX_QUESTION_LENGTH),
        documents=frozenset(_texts(members, "document_ids", most=MAX_NAME_LENGTH)),
        answer=_text(members, "answer", most=MAX_TEXT_LENGTH) if members.get("answer") else None,
        kind="feedback",
    )


def parse_question(members: Mapping[str, Any]) -> GoldenQuestion:
    """Return a golden question.

    Raises:
        InvalidLine: a member is missing, unknown, or invalid.

    """
    if unknown := sorted(members.keys() - MEMBERS):
        msg = f"there is no member {unknown[0][:40]!r}; known are {', '.join(sorted(MEMBERS))}"
        raise InvalidLine(msg)
    if "question" not in members:
        msg = f'"question" is missing; {WANTED} is wanted'
        raise InvalidLine(msg)
    golden = GoldenQuestion(
        question=_text(members, "question", most=MAX_QUESTION_LENGTH),
        documents=frozenset(_texts(members, "documents", most=MAX_NAME_LENGTH)),
        passages=_passages(members.get("passages")),
        answers=_texts(members, "answers", most=MAX_TEXT_LENGTH),
        unanswerable=_flag(members, "unanswerable"),
        id=_text(members, "id", most=200) if "id" in members else "",
        answer=_text(members, "answer", most=MAX_TEXT_LENGTH) if members.get("answer") is not None else None,
        filters=_filters(members.get("filters")),
        grades=_grades(members.get("grades")),
        kind=_text(members, "kind", most=60) if "kind" in members else "",
    )
    if golden.unanswerable and (golden.documents or golden.passages or golden.answers):
        msg = '"unanswerable" says that nothing is right, but "documents", "passages" or "answers" name something'
        raise InvalidLine(msg)
    if not golden.grades.keys() <= golden.documents:
        msg = '"grades" must name "documents" only'
        raise InvalidLine(msg)
    return golden


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        msg = "a member stands there twice; each once is wanted"
        raise InvalidLine(msg)
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


def _text(members: Mapping[str, Any], name: str, *, most: int) -> str:
    return _checked(members[name], f'"{name}" must be a text of 1 to {most} characters', most=most)


def _checked(value: object, wanted: str, *, most: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise InvalidLine(wanted)
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        msg = f"{wanted}, without NUL characters and halves of surrogate pairs"
        raise InvalidLine(msg)
    return value


def _texts(members: Mapping[str, Any], name: str, *, most: int) -> tuple[str, ...]:
    if name not in members:
        return ()
    wanted = f'"{name}" must be a list of 1 to {MAX_ENTRIES} texts'
    values = members[name]
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_ENTRIES:
        raise InvalidLine(wanted)
    return tuple(dict.fromkeys(_checked(value, wanted, most=most) for value in values))


def _flag(members: Mapping[str, Any], name: str) -> bool:
    value = members.get(name, False)
    if not isinstance(value, bool):
        msg = f'"{name}" must be true or false'
        raise InvalidLine(msg)
    return value


def _filters(value: object) -> Mapping[str, object] | None:
    if value is not None and (not isinstance(value, dict) or "filters" not in value):
        msg = '"filters" must be as in the API: {"filters": [{"key": …, "value": …, "operator": "=="}], "condition": …}'
        raise InvalidLine(msg)
    return value


def _grades(value: object) -> Mapping[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(_is_between(each, 1, MAX_GRADE) for each in value.values()):
        msg = f'"grades" must be an object of documents and whole numbers from 1 to {MAX_GRADE}'
        raise InvalidLine(msg)
    return value


def _passages(value: object) -> tuple[GoldenPassage, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ENTRIES:
        msg = f'"passages" must be a list of 1 to {MAX_ENTRIES} objects'
        raise InvalidLine(msg)
    return tuple(_passage(each) for each in value)


def _passage(value: object) -> GoldenPassage:
    wanted = (
        'each of "passages" must be {"document": "…", "start": 0, "end": 10} or {"text": "…"}, with a document or not'
    )
    if not isinstance(value, dict) or not value.keys() <= {"document", "start", "end", "text"}:
        raise InvalidLine(wanted)
    document = _checked(value["document"], wanted, most=MAX_NAME_LENGTH) if "document" in value else None
    if value.keys() - {"document"} == {"text"}:
        return GoldenPassage(document=document, text=_checked(value["text"], wanted, most=MAX_TEXT_LENGTH))
    start, end = value.get("start"), value.get("end")
    is_range = _is_between(start, 0, MAX_OFFSET) and _is_between(end, 1, MAX_OFFSET)
    if document is None or "text" in value or not is_range or not start < end:  # type: ignore[operator]
        raise InvalidLine(wanted)
    return GoldenPassage(document=document, start=start, end=end)


def _is_between(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
