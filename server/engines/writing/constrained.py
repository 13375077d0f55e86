"""Answers whose form forces a citation after each sentence: JSON by a schema, decoded while it is streamed.

OpenAI's structured outputs, llama.cpp, vLLM and Ollama all take a JSON schema and let a model write nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from ingestion.chunking.sentences import sentences
from server.engines.writing.citations import HIGHEST, CitationFilter, uncited

if TYPE_CHECKING:
    from server.engines.record import Record

CONSTRAINED_FORM = (
    'Write JSON: {"answered": true, "sentences": [{"passages": [1], "text": "One sentence."}]}, where `passages` are '
    'the numbers of those that the sentence is from; {"answered": false, "sentences": []} if no passage has the answer.'
)
MAX_CHARACTERS = 32_000
_MOST_SENTENCES = 40
_LONGEST_FENCE = 20
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_BEGUN_PAIR = re.compile(rf"{_HIGH}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?\Z")  # the rest of it may come
_ESCAPE = re.compile(rf"{_HIGH}{_LOW}|({_HIGH}|{_LOW})|\\.", re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)
Checked = Callable[[str, tuple[int, ...]], Sequence[int]]


def answer_schema(passages: int) -> Mapping[str, object]:
    """Return the JSON schema of an answer from so many passages: whether they answer, and sentences with numbers."""
    numbers = {"type": "array", "items": {"type": "integer", "enum": [*range(1, passages + 1)]}, "minItems": 1}
    sentence = _closed({"passages": numbers, "text": {"type": "string"}})
    written = {"type": "array", "items": sentence, "maxItems": _MOST_SENTENCES}
    return _closed({"answered": {"type": "boolean"}, "sentences": written})


def _closed(properties: Mapping[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def written_as_json(answer: str, *, refuses: bool) -> str:
    """Return an answer with markers in the constrained form."""
    parts = []
    for start, end in () if refuses else sentences(answer, 0, len(answer)):
        markers = CitationFilter([""] * HIGHEST)
        markers.feed(answer[start:end])
        markers.end()
        parts.append({"passages": sorted(markers.cited), "text": uncited(answer[start:end])})
    return json.dumps({"answered": not refuses, "sentences": parts}, ensure_ascii=False)


async def decoded(
    pieces: AsyncGenerator[str, None], *, record: Record, no_answer: str, checked: Checked
) -> AsyncGenerator[str, None]:
    """Yield the text of an answer in the constrained form, with its markers; `no_answer` if it says so.

    `checked` gets a sentence and the numbers that the model gave it, and returns those of the passages that have it.

    What is no such JSON comes from a server that cannot constrain an answer, and is yielded as it is.
    """
    raw, shown, is_free = "", "", False
    checked = cache(checked)
    async with aclosing(pieces):
        async for piece in pieces:
            if any(thought.retracts for thought in record.thoughts):  # what came was reasoning
                raw, shown, is_free = "", "", False
            if not piece:  # it tells of new reasoning
                yield piece
                continue
            raw += piece
            said = None if is_free else _text(raw, no_answer, checked)
            is_free = is_free or (said is None and not shown)
            text = raw if is_free else said or shown
            if len(text) > len(shown) and text.startswith(shown):
                yield text[len(shown) :]
                shown = text
            if len(raw) > MAX_CHARACTERS and not is_free:  # no answer in this form is so long
                return


def _text(raw: str, no_answer: str, checked: Checked) -> str | None:
    """Return what an answer that is written so far says, None if it is no JSON; it only ever grows."""
    value, is_whole = _parsed(raw)
    if value is None:
        return None
    if value.get("answered") is False:
        return no_answer
    return "".join(_sentences(value, checked, is_whole=is_whole))


def _parsed(raw: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the object that a text begins with, as far as it is there, and whether it is whole; None: it has none."""
    begun = raw.lstrip("\ufeff \t\r\n")
    if begun.startswith("```"):
        head, is_next, rest = begun.partition("\n")
        begun = rest.lstrip() if is_next else "" if len(head) <= _LONGEST_FENCE else head
    if not begun or begun in {"`", "``"}:
        return {}, False
    if not begun.startswith("{"):
        return None, False
    begun = _ESCAPE.sub(_whole, _BEGUN_PAIR.sub("", begun))
    try:
        return _DECODER.raw_decode(begun)[0], True
    except (ValueError, RecursionError):
        pass
    try:
        value = from_json(begun, allow_partial="trailing-strings")
    except (ValueError, TypeError):
        return None, False
    return value, False


def _whole(escape: re.Match[str]) -> str:
    """Return an escape; for half of a character, which no text can hold, the sign for that."""
    return "\\ufffd" if escape[1] else escape[0]


def _sentences(value: Mapping[str, Any], checked: Checked, *, is_whole: bool) -> Iterator[str]:
    listed = value.get("sentences")
    found = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    for place, sentence in enumerate(found[:_MOST_SENTENCES]):
        text = sentence.get("text")
        if not isinstance(text, str) or not text:
            continue
        if place:
            yield " "
        yield text
        if place + 1 < len(found) or is_whole:
            markers = "".join(f"[{number}]" for number in checked(text, _numbers(sentence)))
            yield f" {markers}" if markers else ""


def _numbers(sentence: Mapping[str, Any]) -> tuple[int, ...]:
    numbers = sentence.get("passages")
    listed = numbers if isinstance(numbers, list) else [numbers]
    return tuple(dict.fromkeys(number for number in listed if type(number) is int and 1 <= number <= HIGHEST))
