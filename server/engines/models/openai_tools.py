"""Tools in OpenAI's protocol: how a request tells them, and the calls in an answer."""

from __future__ import annotations

import json

from server.tool_calls import CallPiece, Tool, Tools


def told_tools(tools: Tools) -> dict[str, object]:
    """Return what a request says of tools."""
    choice: object = tools.choice
    if tools.named:
        choice = {"type": "function", "function": {"name": tools.named}}
    parallel = {} if tools.parallel is None else {"parallel_tool_calls": tools.parallel}
    return {"tools": [told_tool(tool) for tool in tools.offered], "tool_choice": choice, **parallel}


def told_tool(tool: Tool) -> dict[str, object]:
    """Return a tool as OpenAI's protocol has it, and Ollama's after it."""
    function: dict[str, object] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = dict(tool.parameters)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def call_pieces(calls: object) -> tuple[CallPiece, ...]:
    """Return the pieces of calls in an event or a whole answer; there, and with some servers, they have no numbers."""
    listed = calls if isinstance(calls, list) else []
    return tuple(_piece(call, place) for place, call in enumerate(listed) if isinstance(call, dict))


def _piece(call: dict[str, object], place: int) -> CallPiece:
    found, index = call.get("function"), call.get("index")
    function = found if isinstance(found, dict) else {}
    arguments = function.get("arguments") or ""
    return CallPiece(
        index if isinstance(index, int) else place,
        arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
        id=str(call.get("id") or ""),
        name=str(function.get("name") or ""),
    )
