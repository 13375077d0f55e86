"""Requests of OpenAI's clients: fields that are honoured, ignored, or refused because no answer could honour them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from server.answers import Turn
from server.api.openai.messages import NO_MEDIA, NO_TOOLS, Messages, conversation_of
from server.api.openai.refusals import Only, fault
from server.api.schemas.fields import NO_NUL, Text, Whole
from server.api.schemas.questions import MaxTokens, SearchOptions, Temperature
from storage.errors import CollectionNotFound
from storage.generation import NAME_PATTERN

OWNER = "footnote"
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

    model: ModelName = Field(description="A collection: `footnote/<collection>`.", examples=["footnote/default"])
    messages: Messages = Field(description="The last one is the user's question.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = Field(None, description="Unset: the server's.")
    max_tokens: MaxTokens | None = Field(None, description="Longest answer; `max_completion_tokens` goes before it.")
    max_completion_tokens: MaxTokens | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    footnote: SearchOptions | None = Field(None, description="Footnote's own options.")

    n: Annotated[Any, Only((None, 1), "Footnote gives one answer; ask again for another one")] = None
    tools: Annotated[Any, Only((None, []), NO_TOOLS)] = None
    tool_choice: Annotated[Any, Only((None, "none", "auto"), NO_TOOLS)] = None
    functions: Annotated[Any, Only((None, []), NO_TOOLS)] = None
    function_call: Annotated[Any, Only((None, "none", "auto"), NO_TOOLS)] = None
    response_format: Annotated[Any, Only((None, {"type": "text"}), "answers are text; leave it out")] = None
    logprobs: Annotated[Any, Only((None, False), "Footnote has no log probabilities; leave it out")] = None
    top_logprobs: Annotated[Any, Only((None, 0), "Footnote has no log probabilities; leave it out")] = None
    modalities: Annotated[Any, Only((None, ["text"]), NO_MEDIA)] = None
    audio: Annotated[Any, Only((None,), NO_MEDIA)] = None
    prediction: Annotated[Any, Only((None,), "Footnote answers from its documents; leave it out")] = None
    web_search_options: Annotated[Any, Only((None,), "Footnote answers from its documents; leave it out")] = None

    @model_validator(mode="before")
    @classmethod
    def _no_option_is_lost(cls, body: object) -> object:
        """Refuse Footnote's options outside of their object: to ignore a filter would show what it should hide."""
        misplaced = [name for name in SearchOptions.model_fields if isinstance(body, Mapping) and name in body]
        if misplaced:
            raise fault((misplaced[0],), 'is an option of Footnote\'s: it belongs into the object "footnote"')
        return body

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
            whole=not self.stream,
        )
        return Turn(question, history=said.history, instructions=said.instructions)


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
    model: ModelName = Field(description="The embedding model's name, as `/v1/models` lists it.")
    input: Annotated[Inputs, BeforeValidator(_texts, json_schema_input_type=Input | Inputs)]
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`base64`: little-endian float32; unset: `float`."
    )
    dimensions: Annotated[int, Field(ge=1), Whole] | None = Field(None, description="The model's own, or unset.")
    footnote: EmbeddingOptions | None = Field(None, description="Footnote's own options.")
