"""Auxiliary model calls, which do not write the answer: counted, bounded in time and number, parsed defensively."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from llama_index.core.llms import ChatMessage

from server.engines.models.errors import ModelTimeout
from server.engines.models.model import LanguageModel
from server.engines.parts import EngineParts

MAX_REPLY_LENGTH = 20_000  # characters that are looked at
MAX_LINE_LENGTH = 500  # characters of a question or a wording
_ITEM = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+(.+)$")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LETTER = re.compile(r"[^\W\d_]")
Result = TypeVar("Result")


async def consult(parts: EngineParts, model: LanguageModel, messages: Sequence[ChatMessage], *, max_tokens: int) -> str:
    """Return the model's complete reply; its tokens and cost are added to the record.

    Raises:
        ModelError: the call failed, or took longer than ``engines.call_timeout`` (`ModelTimeout`).

    """
    seconds = parts.settings.engines.call_timeout
    try:
        async with asyncio.timeout(seconds):
            return await model.reply(messages, max_tokens=max_tokens, on_finish=parts.record.add_call)
    except TimeoutError:
        msg = f"a call of the model beside the answer took longer than {seconds:g} seconds"
        raise ModelTimeout(msg) from None


async def all_of(calls: Iterable[Callable[[], Awaitable[Result]]], *, at_once: int) -> list[Result]:
    """Return all results in order; the first failure, or cancellation, cancels the other calls."""
    turns = asyncio.Semaphore(at_once)

    async def in_turn(call: Callable[[], Awaitable[Result]]) -> Result:
        async with turns:
            return await call()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(in_turn(call)) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def listed(reply: str, *, most: int, besides: str) -> list[str]:
    """Return the questions in a model's list, as JSON or line by line; at most `most`, without repetition or `besides`.

    Text that cannot be parsed gives no questions, prose around the list is ignored, and questions are cut to
    `MAX_LINE_LENGTH`.
    """
    reply = reply[:MAX_REPLY_LENGTH]
    found: dict[str, str] = {}
    for item in _json_items(reply) or _line_items(reply):
        text = " ".join(_storable(item).split()).strip("\"'“”` ")
        if _LETTER.search(text) and len(text) <= MAX_LINE_LENGTH:
            found.setdefault(text.casefold(), text)
    found.pop(" ".join(besides.split()).casefold(), None)
    return list(found.values())[:most]


def _json_items(reply: str) -> list[str]:
    start, end = reply.find("["), reply.rfind("]")
    if start < 0:
        return []
    try:
        items = json.loads(reply[start : end + 1])
    except (ValueError, RecursionError):  # a list that was cut by the token limit: its complete strings are used
        items = [_string(match.group()) for match in _STRING.finditer(reply, start)]
    return [item for item in items if isinstance(item, str)] if isinstance(items, list) else []


def _string(literal: str) -> str:
    try:
        return str(json.loads(literal))
    except ValueError:
        return ""


def _line_items(reply: str) -> list[str]:
    return [match.group(1) for line in reply.splitlines() if (match := _ITEM.match(line))]


def _storable(text: str) -> str:
    """Remove NUL and lone surrogates, which databases and tokenizers refuse."""
    return text.encode("utf-8", "ignore").decode().replace("\0", "")
