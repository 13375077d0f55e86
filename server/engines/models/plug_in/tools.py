"""A client's tools as LlamaIndex's, for classes that call functions, and the calls that such a class answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import BaseTool, ToolMetadata
from pydantic import BaseModel, create_model

from server.engines.models.plug_in.abilities import metadata_of
from server.tool_calls import CallPiece, Tool, Tools

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from server.engines.models.plug_in.responses import Response

_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}}


class _Declared(ToolMetadata):
    """What a tool is, by the JSON schema that the client gave, and not by one that pydantic makes of a class."""

    def __init__(self, tool: Tool) -> None:
        self._schema = dict(tool.parameters or _NOTHING)
        super().__init__(tool.description, tool.name, _class_of(tool.name, self._schema))

    def get_parameters_dict(self) -> dict[str, Any]:
        return self._schema

    def to_openai_tool(self, skip_length_check: bool = False) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002
        return super().to_openai_tool(skip_length_check=True)


class DeclaredTool(BaseTool):
    """A tool that its client calls itself."""

    def __init__(self, tool: Tool) -> None:
        self._metadata = _Declared(tool)

    @property
    def metadata(self) -> ToolMetadata:
        """What it is."""
        return self._metadata

    def __call__(self, input: Any) -> NoReturn:  # noqa: A002, ANN401 (LlamaIndex's signature)
        """Refuse: the call goes to the client."""
        msg = f"the tool {self._metadata.name} is its client's to call"
        raise NotImplementedError(msg)


def calls_functions(llm: LLM) -> bool:
    """Tell whether a class calls functions, and the model with it; of one that it does not know that is believed."""
    told = metadata_of(llm)
    return isinstance(llm, FunctionCallingLLM) and (told is None or told.is_function_calling_model)


def tool_options(tools: Tools) -> dict[str, Any]:
    """Return what the methods with `with_tools` in their names are given; one that must be called is all there is."""
    offered = [tool for tool in tools.offered if tools.named in {None, tool.name}]
    return {
        "tools": [DeclaredTool(tool) for tool in offered],
        "allow_parallel_tool_calls": tools.parallel is not False,
        "tool_required": tools.choice == "required",
    }


def calls_in(llm: LLM, response: Response) -> tuple[CallPiece, ...]:
    """Return the calls of a whole response."""
    assert isinstance(llm, FunctionCallingLLM)  # noqa: S101 (no other is offered tools)
    found = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)  # type: ignore[arg-type]
    return tuple(
        CallPiece(number, json.dumps(call.tool_kwargs, ensure_ascii=False), id=call.tool_id or "", name=call.tool_name)
        for number, call in enumerate(found)
    )


def has_calls(response: Response) -> bool:
    """Tell whether a response shows a call, of those of a stream the last that does has them whole."""
    message = getattr(response, "message", None)
    if message is None:
        return False
    kept: Sequence[object] = message.additional_kwargs.get("tool_calls") or ()
    return bool(kept) or any(block.block_type == "tool_call" for block in message.blocks)


def _class_of(name: str, schema: dict[str, Any]) -> type[BaseModel]:
    """Return a class whose schema is this one, for classes that ask for it there."""

    class Given(BaseModel):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG003 (pydantic's)
            return schema

    return create_model(name, __base__=Given)
