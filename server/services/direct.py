"""The model without documents, as a client's own prompt wants it: nothing is searched, nothing is added."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage, MessageRole, TextBlock

from server.answers import Done, Event, Message, Reasoning, Sources, Token, is_blank
from server.engines.abilities import conversational
from server.engines.chat.history import chat_message
from server.engines.models.errors import ModelFailed, ModelTooLong
from server.engines.models.events import Delta, Finish, ModelEvent, Retraction
from server.engines.record import Record
from server.engines.writing.structured import by_schema, schema_note
from server.errors import MessagesTooLong, ModelRequired, ToolsUnsupported
from server.limits.budgets import asking_about
from server.tool_calls import CallPiece, ToolCall

if TYPE_CHECKING:
    from server.answers import Turn
    from server.engines.models.model import LanguageModel

DIRECT = "footnote/none"


async def direct_events(model: LanguageModel | None, turn: Turn) -> AsyncGenerator[Event, None]:
    """Yield what the model answers to a conversation: `Sources` without any, `Token`s and `CallPiece`s, `Done`.

    Raises:
        ModelRequired: there is no chat model.
        ToolsUnsupported: it cannot be offered the turn's tools.
        MessagesTooLong: it does not read so much.

    """
    writer = conversational(model)
    if writer is None:
        raise ModelRequired(DIRECT)
    if turn.tools is not None and (why := writer.why_no_tools(turn.tools)):
        msg = f"the tools {why}"
        raise ToolsUnsupported(msg)
    asking_about("")
    record, started = Record(engine="none"), time.perf_counter()
    yield Sources((), (), collection="", generation="")
    pieces, schema = _pieces(writer, turn, record), turn.question.json_schema
    if schema:
        pieces = by_schema(pieces, schema=schema, record=record)
    has_text = False
    async with aclosing(pieces):
        async for piece in pieces:
            for thought in record.new_thoughts():
                has_text = has_text and not thought.retracts
                yield thought
            if piece:
                has_text = has_text or not is_blank(piece)
                yield Token(piece)
            for call in record.new_calling():
                yield call
    finish = record.finish
    if finish is None or not (has_text or record.called):
        msg = "the model wrote an empty answer"
        raise ModelFailed(msg)
    if turn.tools is not None and turn.tools.choice == "required" and not record.called:
        msg = "the model called no tool, though the request says that it must"
        raise ModelFailed(msg)
    yield Done(
        finish_reason=finish.finish_reason,
        model=finish.model,
        usage=finish.usage,
        cost_usd=finish.cost_usd,
        timings_ms={"total": round((time.perf_counter() - started) * 1000, 3)},
        citations=(),
        sources=(),
        engine=record.report(),
    )


async def _pieces(model: LanguageModel, turn: Turn, record: Record) -> AsyncGenerator[str, None]:
    """Yield the text; an empty piece tells of something else, which is in the record."""
    asked = turn.question
    events = model.stream(
        _messages(turn),
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        stop=() if asked.json_schema else asked.stop,
        schema=asked.schema,
        whole=asked.whole,
        tools=turn.tools,
    )
    async with aclosing(_too_long_named(events)) as stream:
        async for event in stream:
            if isinstance(event, Delta):
                yield event.text
            elif isinstance(event, Finish):
                record.finish = event
                if event.note:
                    record.note(event.note)
            elif isinstance(event, CallPiece):
                record.add_calling(event)
                yield ""
            else:
                retracts = isinstance(event, Retraction)
                record.thoughts.append(
                    Reasoning("" if isinstance(event, Retraction) else event.text, retracts=retracts)
                )
                yield ""


async def _too_long_named(events: AsyncGenerator[ModelEvent, None]) -> AsyncGenerator[ModelEvent, None]:
    """Yield a model's events; of a prompt that is too long, tell what the client can change."""
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except ModelTooLong:
            raise MessagesTooLong from None


def _messages(turn: Turn) -> list[ChatMessage]:
    asked = turn.question
    told = [turn.instructions, schema_note(asked.json_schema) if asked.json_schema else ""]
    system = "\n\n".join(filter(None, told))
    first = [ChatMessage(role=MessageRole.SYSTEM, content=system)] if system else []
    last = [ChatMessage(role=MessageRole.USER, content=asked.question)] if asked.question else []
    return [*first, *map(_message, turn.history), *last]


def _message(message: Message) -> ChatMessage:
    """Return a LlamaIndex message, with calls of tools and their results as its agents keep them."""
    if message.role == "tool":
        named = {"tool_call_id": message.answers}
        return ChatMessage(role=MessageRole.TOOL, content=message.content, additional_kwargs=named)
    if message.calls:
        said = [TextBlock(text=message.content)] if message.content else []
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[*said, *map(_block, message.calls)])
    return chat_message(message)


def _block(call: ToolCall) -> ToolCallBlock:
    """Return a call; arguments that are no JSON object, which a model wrote, stay text."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = call.arguments
    given = arguments if isinstance(arguments, dict) else call.arguments
    return ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=given)
