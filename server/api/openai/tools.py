"""Tools in requests: those that `footnote/none` passes on to the language model, and calls and results in messages.

One function that must be called is another thing, and works with documents too: its arguments are the answer. Clients
ask for structured output that way (LlamaIndex's function calling, LangChain's ``method="function_calling"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.api.schemas.fields import NO_NUL, Text
from server.json_schemas import bounded_schema
from server.tool_calls import Tool, ToolCall, Tools

MAX_TOOLS = 128
MAX_CALLS = 128
MAX_DESCRIPTION_LENGTH = 16_000
MAX_ARGUMENTS_LENGTH = 100_000
NO_CHOICE = (
    "a collection's model answers from its documents and chooses among no tools. Ask the model footnote/none, which "
    "passes them to the language model, and give it Footnote's search as one of them (docs/openai.md); or ask for the "
    "arguments of one function by tool_choice; or leave them out"
)
NO_RESULTS = (
    "a collection's model answers from its documents and takes no calls of tools or their results; ask the model "
    "footnote/none, or leave them out"
)
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
CallId = Annotated[Text, Field(min_length=1, max_length=512, json_schema_extra={"pattern": NO_NUL})]


class FunctionIn(BaseModel):
    """A function; `parameters` is a JSON schema."""

    model_config = ConfigDict(strict=True)
    name: Name
    description: Annotated[Text, Field(max_length=MAX_DESCRIPTION_LENGTH)] | None = None
    parameters: Annotated[dict[str, Any], AfterValidator(bounded_schema)] | None = None
    strict: bool | None = None


class FunctionTool(BaseModel):
    """A tool."""

    model_config = ConfigDict(strict=True)
    type: Literal["function"]
    function: FunctionIn


class ChosenFunction(BaseModel):
    """The function that must be called."""

    model_config = ConfigDict(strict=True)
    name: Name


class ChosenTool(BaseModel):
    """The tool that must be called."""

    model_config = ConfigDict(strict=True)
    type: Literal["function"]
    function: ChosenFunction


class CalledFunction(BaseModel):
    """The function that was called; its arguments are JSON, or what a model wrote in its place."""

    model_config = ConfigDict(strict=True)
    name: Name
    arguments: Annotated[Text, Field(max_length=MAX_ARGUMENTS_LENGTH)] = ""


class CallIn(BaseModel):
    """A call that the model asked for."""

    model_config = ConfigDict(strict=True)
    id: CallId
    type: Literal["function"] = "function"
    function: CalledFunction

    @property
    def call(self) -> ToolCall:
        """It, without its frame."""
        return ToolCall(self.id, self.function.name, self.function.arguments)


def called(tools: Sequence[FunctionTool], choice: str | ChosenTool | None) -> FunctionIn | None:
    """Return the function that must be called; None: none must, or it is left to the model which."""
    if isinstance(choice, ChosenTool):
        return next((tool.function for tool in tools if tool.function.name == choice.function.name), None)
    return tools[0].function if choice == "required" and len(tools) == 1 else None


def offered(
    tools: Sequence[FunctionTool],
    choice: Literal["none", "auto", "required"] | ChosenTool | None,
    *,
    parallel: bool | None,
) -> Tools:
    """Return what the model may call."""
    functions = [tool.function for tool in tools]
    given = tuple(Tool(each.name, each.description or "", each.parameters, each.strict) for each in functions)
    if isinstance(choice, ChosenTool):
        return Tools(given, "required", named=choice.function.name, parallel=parallel)
    return Tools(given, choice or "auto", parallel=parallel)
