"""Requests of OpenAI's clients: fields that are honoured, ignored, or refused because no answer could honour them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from server.answers import Turn
from server.api.openai.answer_schemas import FUNCTION, Form
from server.api.openai.messages import (
    NO_FUNCTIONS,
    NO_MEDIA,
    Messages,
    check_roles,
    conversation_of,
    uses_tools,
)
from server.api.openai.refusals import Only, fault
from server.api.openai.told_schemas import without_told_schema
from server.api.openai.tools import MAX_TOOLS, NO_CHOICE, ChosenTool, FunctionIn, FunctionTool, called, offered
from server.api.schemas.fields import NO_NUL, Text, Whole
from server.api.schemas.questions import MAX_QUESTION_LENGTH, MaxTokens, SearchOptions, Temperature
from server.api.schemas.response_format import ResponseFormat
from server.json_schemas import sound_schema
from server.tool_calls import Tools
from storage.errors import CollectionNotFound
from storage.generation import NAME_PATTERN

OWNER = "footnote"
DIRECT = f"{OWNER}/none"
"""The language model itself: no documents are searched."""
MAX_INPUTS = 2048
MAX_INPUT_LENGTH = 100_000
MAX_STOPS = 4
NO_TOKENS = (
    "token ids are not supported, they are another model's; send text (LangChain: check_embedding_ctx_length=False)"
)
ModelName = Annotated[Text, Field(min_length=1, max_length=512, json_schema_extra={"pattern": NO_NUL})]
Stop = Annotated[Text, Field(min_length=1, max_length=1000, json_schema_extra={"pattern": NO_NUL})]


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(strict=True)
    include_usage: bool | None = Field(None, description="End with a chunk that counts the tokens.")


class CompletionBody(BaseModel):
    """A chat with a collection.

    Sampling that Footnote leaves to its settings (`top_p`, penalties, `seed`, …) and members that are not known are
    accepted and ignored: clients send many. What would change the shape or the meaning of the answer is refused.
    """

    model_config = ConfigDict(
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "model": "footnote/default",
                    "messages": [{"role": "user", "content": "How do I change the port?"}],
                    "footnote": {"k": 4},
                }
            ]
        },
    )

    model: ModelName = Field(
        description="A collection: `footnote/<collection>`; `footnote/none`: no documents.",
        examples=["footnote/default"],
    )
    messages: Messages = Field(
        description="The last one is the user's question; for `footnote/none` it may be a tool's."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = Field(None, description="Unset: the server's.")
    max_tokens: MaxTokens | None = Field(None, description="Longest answer; `max_completion_tokens` goes before it.")
    max_completion_tokens: MaxTokens | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    response_format: ResponseFormat | None = Field(
        None, description="JSON by a schema, without citations; `text`: the usual answer."
    )
    footnote: SearchOptions | None = Field(None, description="Footnote's own options.")

    n: Annotated[Any, Only((None, 1), "Footnote gives one answer; ask again for another one")] = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = Field(
        None,
        description="`footnote/none` passes them to the language model. Else one function that `tool_choice` asks "
        "for: the answer is its arguments.",
    )
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = Field(None, description="Passed on with the tools; ignored without.")
    functions: Annotated[Any, Only((None, []), NO_FUNCTIONS)] = None
    function_call: Annotated[Any, Only((None, "none", "auto"), NO_FUNCTIONS)] = None
    logprobs: Annotated[Any, Only((None, False), "Footnote has no log probabilities; leave it out")] = None
    top_logprobs: Annotated[Any, Only((None, 0), "Footnote has no log probabilities; leave it out")] = None
    modalities: Annotated[Any, Only((None, ["text"]), NO_MEDIA)] = None
    audio: Annotated[Any, Only((None,), NO_MEDIA)] = None
    prediction: Annotated[Any, Only((None,), "Footnote answers from its documents; leave it out")] = None
    web_search_options: Annotated[Any, Only((None,), "Footnote answers from its documents; leave it out")] = None
    _told_schema: str | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _no_option_is_lost(cls, body: object) -> object:
        """Refuse Footnote's options outside of their object: to ignore a filter would show what it should hide."""
        misplaced = [name for name in SearchOptions.model_fields if isinstance(body, Mapping) and name in body]
        if misplaced:
            raise fault((misplaced[0],), 'is an option of Footnote\'s: it belongs into the object "footnote"')
        return body

    @model_validator(mode="after")
    def _schema_is_no_question(self) -> Self:
        if not self.is_direct and self.messages:
            self.messages, self._told_schema = without_told_schema(self.messages)
        return self

    @model_validator(mode="after")
    def _question_is_bounded(self) -> Self:
        check_roles(self.messages, takes_tools=self.is_direct)
        last = len(self.messages) - 1
        if not self.is_direct and len(self.messages[last].text) > MAX_QUESTION_LENGTH:
            raise fault(
                ("messages", last, "content"), f"the question must have at most {MAX_QUESTION_LENGTH} characters"
            )
        return self

    @model_validator(mode="after")
    def _options_have_effect(self) -> Self:
        if self.is_direct and self.footnote is not None:
            raise fault(("footnote",), f"{DIRECT} searches no documents, so that none of its options has an effect")
        return self

    @model_validator(mode="after")
    def _tools_can_be_honoured(self) -> Self:
        if isinstance(self.tool_choice, ChosenTool) and called(self.tools or [], self.tool_choice) is None:
            raise fault(("tool_choice",), "names none of the tools")
        # LlamaIndex says `required` without any tools: that asks nothing
        if self.tools and not self.is_direct and self.function is None and self.tool_choice != "none":
            raise fault(("tools",), NO_CHOICE)
        if self.function is not None and self.response_format is not None and self.response_format.schema_text:
            raise fault(("response_format",), "the answer is a function's arguments already; leave one of them out")
        return self

    @model_validator(mode="after")
    def _functions_are_told_apart(self) -> Self:
        names = [tool.function.name for tool in self.tools or []]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise fault(("tools", place, "function", "name"), "another tool has this name")
        if (function := self.function) is not None and function.parameters is not None:
            try:
                sound_schema(function.parameters)
            except ValueError as error:
                place = names.index(function.name)
                raise fault(("tools", place, "function", "parameters"), str(error)) from None
        return self

    @property
    def function(self) -> FunctionIn | None:
        """The function that must be called, whose arguments the answer is.

        Of several that `footnote/none` is offered, and in a conversation with calls, the model itself is to call it.
        """
        tools = self.tools or []
        if self.is_direct and (len(tools) > 1 or uses_tools(self.messages)):
            return None
        return called(tools, self.tool_choice)

    @property
    def passed_tools(self) -> Tools | None:
        """The tools that the language model is offered."""
        if not self.tools or not self.is_direct or self.function is not None:
            return None
        return offered(self.tools, self.tool_choice, parallel=self.parallel_tool_calls)

    @property
    def form(self) -> Form:
        """How the answer is told; see `Form`."""
        if self.function is not None:
            return FUNCTION + self.function.name
        return "json" if self.response_format is not None and self.response_format.schema_text else "text"

    @property
    def is_direct(self) -> bool:
        """Whether the model is asked without documents."""
        return self.model == DIRECT

    @property
    def json_schema(self) -> str | None:
        """The JSON schema that the answer keeps to, as JSON; the request's own goes before one in a message."""
        if self.function is not None:
            told = {"description": self.function.description} if self.function.description else {}
            return json.dumps({**told, **(self.function.parameters or {"type": "object"})}, ensure_ascii=False)
        return (self.response_format.schema_text if self.response_format else None) or self._told_schema

    def to_turn(self) -> Turn:
        """Return the question with its conversation.

        Raises:
            CollectionNotFound: `model` is not a valid name of a collection.

        """
        said, options = conversation_of(self.messages), self.footnote or SearchOptions()
        question = options.question_about(
            said.question,
            collection=collection_of(self.model),
            temperature=self.temperature,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            json_schema=self.json_schema,
            whole=not self.stream,
        )
        return Turn(question, history=said.history, instructions=said.instructions, tools=self.passed_tools)


def collection_of(model: str) -> str:
    """Return the collection that a model's name stands for, with or without ``footnote/``.

    Raises:
        CollectionNotFound: no collection can have such a name.

    """
    name = model.removeprefix(f"{OWNER}/")
    if not re.fullmatch(NAME_PATTERN, name):
        raise CollectionNotFound(name[:100])
    return name


def _texts(given: object) -> object:
    """Return the texts of an ``input``, which may be a single one; refuse token ids with a hint."""
    first = given[0] if isinstance(given, list) and given else None
    if isinstance(first, (int, list)):
        raise ValueError(NO_TOKENS)  # noqa: TRY004 (pydantic lets a TypeError through)
    return [given] if isinstance(given, str) else given


Input = Annotated[Text, Field(min_length=1, max_length=MAX_INPUT_LENGTH, json_schema_extra={"pattern": NO_NUL})]
Inputs = Annotated[list[Input], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]


class EmbeddingOptions(BaseModel):
    """Footnote's own options."""

    model_config = ConfigDict(strict=True, extra="forbid")
    input_type: Literal["passage", "query"] = Field(
        "passage", description="Models that were trained with instructions embed questions and passages differently."
    )


class EmbeddingsBody(BaseModel):
    """Texts to embed. Members that are not known are accepted and ignored."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"model": "all-MiniLM-L6-v2", "input": ["one text", "another one"]}]},
    )
    model: ModelName = Field(description="An embedding model's name, as `/v1/models` lists it.")
    input: Annotated[Inputs, BeforeValidator(_texts, json_schema_input_type=Input | Inputs)]
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`base64`: little-endian float32; unset: `float`."
    )
    dimensions: Annotated[int, Field(ge=1), Whole] | None = Field(None, description="The model's own, or unset.")
    footnote: EmbeddingOptions | None = Field(None, description="Footnote's own options.")
