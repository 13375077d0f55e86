"""The messages of a chat: the question, its history and the application's instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from server.answers import Message
from server.api.openai.refusals import Only, fault
from server.api.schemas.fields import NO_NUL, Text
from server.api.schemas.questions import MAX_QUESTION_LENGTH

MAX_MESSAGES = 2000
MAX_CONTENT_LENGTH = 100_000
MAX_INSTRUCTIONS_LENGTH = 32_000
NO_TOOLS = "Footnote answers from its documents and calls no tools; leave it out"
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
    role: Literal["system", "developer", "user", "assistant"]
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
    tool_calls: Annotated[Any, Only((None, []), NO_TOOLS)] = None
    function_call: Annotated[Any, Only((None,), NO_TOOLS)] = None
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
    """Split messages into the question, its history and the application's instructions."""
    history = [
        Message(message.role, message.text)
        for message in messages[:-1]
        if message.text and message.role in ("user", "assistant")
    ]
    return Conversation(messages[-1].text, history=tuple(history), instructions=_instructions(messages))


def _checked(messages: list[MessageIn]) -> list[MessageIn]:
    last = len(messages) - 1
    if messages[last].role != "user":
        raise fault((last, "role"), "the last message must be the user's question")
    if not messages[last].text:
        raise fault((last, "content"), "the question must not be empty")
    if len(messages[last].text) > MAX_QUESTION_LENGTH:
        raise fault((last, "content"), f"the question must have at most {MAX_QUESTION_LENGTH} characters")
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
