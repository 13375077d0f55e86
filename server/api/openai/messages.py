"""The messages of a chat: the question, its history and the application's instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from server.answers import Message
from server.api.openai.refusals import Only, fault
from server.api.openai.tools import MAX_CALLS, NO_RESULTS, CallId, CallIn
from server.api.schemas.fields import NO_NUL, Text

MAX_MESSAGES = 2000
MAX_CONTENT_LENGTH = 100_000
MAX_INSTRUCTIONS_LENGTH = 32_000
NO_FUNCTIONS = "was replaced by tools and tool_choice in OpenAI's protocol; use them, or leave it out"
NO_MEDIA = "Footnote reads and writes text only; leave it out"


class TextPart(BaseModel):
    """A part of a message."""

    type: Literal["text"]
    text: str = Field(json_schema_extra={"pattern": NO_NUL})


def _text_of(content: object) -> object:
    """Join the texts of a message's parts with line ends; return anything but a list unchanged."""
    if not isinstance(content, list):
        return content
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            named = f"of type {str(kind)[:40]!r}" if kind else "without a type"
            msg = f"part {number} is {named}; only parts of type 'text' are supported"
            raise ValueError(msg)
        if not isinstance(part.get("text"), str):
            msg = f"part {number} has no text"
            raise ValueError(msg)  # noqa: TRY004 (pydantic lets a TypeError through)
        texts.append(part["text"])
    return "\n".join(texts)


class MessageIn(BaseModel):
    """A message. Its further members (`name`, `refusal`, …) are ignored."""

    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        Annotated[Text, Field(max_length=MAX_CONTENT_LENGTH)] | None,
        BeforeValidator(
            _text_of,
            json_schema_input_type=Annotated[
                str, Field(max_length=MAX_CONTENT_LENGTH, json_schema_extra={"pattern": NO_NUL})
            ]
            | list[TextPart]
            | None,
        ),
    ] = None
    tool_calls: Annotated[list[CallIn], Field(max_length=MAX_CALLS)] | None = Field(
        None, description="Of an assistant's message to `footnote/none`: the calls that the model asked for."
    )
    tool_call_id: CallId | None = Field(None, description="Of a tool's message: the call whose result it is.")
    function_call: Annotated[Any, Only((None,), NO_FUNCTIONS)] = None
    audio: Annotated[Any, Only((None,), NO_MEDIA)] = None

    @property
    def text(self) -> str:
        """What it says, without surrounding white space."""
        return (self.content or "").strip()


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages by purpose; see `server.answers.Turn`."""

    question: str
    history: tuple[Message, ...]
    instructions: str


def conversation_of(messages: Sequence[MessageIn]) -> Conversation:
    """Split messages into the question, its history and the application's instructions.

    Where the last one is the result of a tool, there is no question: it ends the history.
    """
    last = messages[-1]
    asks = last.role == "user"
    history = [said for message in (messages[:-1] if asks else messages) if (said := _said(message)) is not None]
    return Conversation(last.text if asks else "", history=tuple(history), instructions=_instructions(messages))


def _said(message: MessageIn) -> Message | None:
    calls = tuple(each.call for each in message.tool_calls or ())
    if message.role == "tool":
        return Message("tool", message.content or "", answers=message.tool_call_id or "")
    if message.role == "assistant" and calls:
        return Message("assistant", message.content or "", calls=calls)
    if not message.text or message.role in ("system", "developer"):
        return None
    return Message("user" if message.role == "user" else "assistant", message.text)


def uses_tools(messages: Sequence[MessageIn]) -> bool:
    """Tell whether a tool was called in a conversation."""
    return any(message.tool_calls or message.role == "tool" for message in messages)


def check_roles(messages: Sequence[MessageIn], *, takes_tools: bool) -> None:
    """Check which message is last, and that calls of tools and their results belong together.

    Raises:
        ValidationError: that names the message: they do not, or the model `takes_tools` of no kind.

    """
    _check_calls(messages, takes_tools=takes_tools)
    last = len(messages) - 1
    if messages[last].role == "tool":
        return
    if messages[last].role != "user":
        raise fault(("messages", last, "role"), "the last message must be the user's question")
    if not messages[last].text:
        raise fault(("messages", last, "content"), "the question must not be empty")


def _check_calls(messages: Sequence[MessageIn], *, takes_tools: bool) -> None:
    called: set[str] = set()
    for number, message in enumerate(messages):
        place = ("messages", number)
        if not takes_tools and (message.tool_calls or message.role == "tool"):
            raise fault((*place, "tool_calls" if message.tool_calls else "role"), NO_RESULTS)
        if message.tool_calls and message.role != "assistant":
            raise fault((*place, "tool_calls"), "only a message of the assistant calls tools")
        if message.role == "tool" and message.tool_call_id not in called:
            raise fault((*place, "tool_call_id"), "must be the id of a call in an earlier message of the assistant")
        called.update(call.id for call in message.tool_calls or ())


def _checked(messages: list[MessageIn]) -> list[MessageIn]:
    if len(_instructions(messages)) > MAX_INSTRUCTIONS_LENGTH:
        msg = f"system and developer messages must have at most {MAX_INSTRUCTIONS_LENGTH} characters together"
        raise ValueError(msg)
    return messages


def _instructions(messages: Sequence[MessageIn]) -> str:
    texts = [message.text for message in messages if message.role in ("system", "developer")]
    return "\n\n".join(text for text in texts if text)


Messages = Annotated[
    list[MessageIn],
    Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
    AfterValidator(_checked),
]
