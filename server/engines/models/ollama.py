"""Models of an Ollama server, by LlamaIndex's `Ollama` and the SDK under it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx

from server.answers import Usage
from server.engines.models.connections import connection_options, shown
from server.engines.models.errors import ModelUnavailable
from server.engines.models.failures import (
    UNNAMED,
    Hints,
    broken,
    check_document,
    check_stream,
    refusal_text,
    refused,
    unreached,
)
from server.engines.models.openai_tools import told_tool
from server.engines.models.provider import Chunk, Request
from server.tool_calls import CallPiece, Tools

if TYPE_CHECKING:
    from llama_index.core.llms import ChatMessage
    from ollama import ChatResponse, ListResponse

PROBE_TIMEOUT = 2.0

_EMBEDDERS = ("embed", "minilm", "bge-", "rerank", "paraphrase-", "gte-", "e5-")


class Ollama:
    """A model of an Ollama server, through ``/api/chat``: its OpenAI-compatible endpoint cannot set the context window.

    The SDK's client inside LlamaIndex's object is called directly: LlamaIndex's own generator ignores a request's
    ``temperature`` and ``stop``, and takes a truncated stream for a complete answer.
    """

    name = "ollama"
    is_chat = True
    doubt: str | None = None

    def __init__(self, url: str, *, model: str, context_window: int, connect_timeout: float) -> None:
        from llama_index.llms.ollama import Ollama as LlamaIndexOllama
        from ollama import AsyncClient

        self.model = model
        self._hints = Hints(
            address="FOOTNOTE_LLM__OLLAMA_BASE_URL",
            key="FOOTNOTE_LLM__OLLAMA_BASE_URL",
            unknown_model=f"get it with `ollama pull {model}`, or set FOOTNOTE_LLM__MODEL",
        )
        options = connection_options(connect_timeout=connect_timeout)
        options["event_hooks"]["response"].append(self._split_at_line_feeds)
        parts = urlsplit(url)
        if parts.username:  # the SDK forgets them
            options["auth"] = (unquote(parts.username), unquote(parts.password or ""))
        self._llm = LlamaIndexOllama(
            model, url, context_window=context_window, async_client=AsyncClient(url, **options)
        )

    async def _split_at_line_feeds(self, response: httpx.Response) -> None:
        # the SDK reads lines here; httpx ends them at U+0085 and U+2028 too, which JSON may hold
        vars(response)["aiter_lines"] = lambda: _lines(response, self._hints)

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Ask once; see `Provider.chunks`."""
        asked = {
            "model": self.model,
            "messages": _messages(request.messages),
            "stream": not request.whole,
            "format": dict(request.schema) if request.schema else None,
            "tools": _offered(request.tools),
            "options": {
                "num_ctx": self._llm.context_window,
                "num_predict": request.max_tokens,
                "temperature": request.temperature,
                **({"stop": list(request.stop)} if request.stop else {}),
            },
        }
        if request.whole:
            yield await self._whole(asked)
            return
        async with contextlib.aclosing(self._streamed(asked)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _streamed(self, asked: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        from ollama import ResponseError

        answer = await self._llm.async_client.chat(**asked)
        try:
            async with contextlib.aclosing(answer):
                async for data in answer:
                    yield _chunk(data)
        except ResponseError as exc:
            # the SDK drops the headers, but Python keeps the error that it made its own of; none within a stream
            response = getattr(exc.__context__, "response", None)
            raise refused(exc.error, response, hints=self._hints) from None  # its text may quote the prompt
        except httpx.TransportError as exc:  # within the answer, `_lines` names them
            raise unreached(exc) from exc
        except UNNAMED as exc:
            raise broken(exc) from None

    async def _whole(self, asked: dict[str, Any]) -> Chunk:
        """Ask for an answer in one piece, through the SDK's HTTP client: the SDK does not tell where one was lost."""
        from ollama import ChatResponse

        http: httpx.AsyncClient = self._llm.async_client._client  # noqa: SLF001 (see above)
        given = {name: value for name, value in asked.items() if value is not None}
        try:
            response = await http.send(http.build_request("POST", "/api/chat", json=given), stream=True)
        except httpx.TransportError as exc:
            raise unreached(exc) from exc
        except UNNAMED as exc:
            raise broken(exc) from None
        async with contextlib.aclosing(response):
            if not response.is_success:
                raise refused(await refusal_text(response), response, hints=self._hints)
            check_document(response, hints=self._hints)
            try:
                data = json.loads(await response.aread())
                if isinstance(data, dict) and (error := data.get("error")):
                    raise refused(error, None, hints=self._hints)
                return _chunk(ChatResponse.model_validate(data))
            except UNNAMED as exc:
                raise broken(exc) from None

    async def installed(self, *, timeout: float = PROBE_TIMEOUT) -> list[str]:  # noqa: ASYNC109 (one wait, not a scope)
        """Return the names of the server's models that generate text.

        Raises:
            ModelUnavailable: nothing answers within ``timeout`` seconds, or it is not Ollama.

        """
        from ollama import ResponseError

        try:
            async with asyncio.timeout(timeout):
                models = (await self._llm.async_client.list()).models
        except (TimeoutError, ConnectionError, httpx.TransportError) as exc:
            cause = exc.__context__ if type(exc) is ConnectionError else exc  # the SDK hides httpx's
            raise unreached(cause) from exc
        except (ResponseError, *UNNAMED) as exc:
            msg = f"the server at {self._hints.address} does not answer as Ollama does"
            raise ModelUnavailable(msg, detail=type(exc).__name__) from exc
        return [model.model for model in models if model.model and _writes(model)]

    def why_no_tools(self, tools: Tools) -> str:
        """Tell whether Ollama can be asked so: its protocol has no word for a call that must be made."""
        if tools.choice != "required":
            return ""
        return "can be offered with tool_choice auto or none only: Ollama cannot be told that one must be called"

    async def probe(self) -> str | None:
        """Check that the server is reachable and has the model."""
        try:
            models = await self.installed()
        except ModelUnavailable as error:
            return f"{error} (at {shown(self._llm.base_url)}, {self._hints.address})"
        if self.model not in models and f"{self.model}:latest" not in models:
            return f"Ollama does not have the model; {self._hints.unknown_model}"
        return None

    async def close(self) -> None:
        """Close every connection."""
        await self._llm.async_client.close()  # type: ignore[no-untyped-call]


async def _lines(response: httpx.Response, hints: Hints) -> AsyncGenerator[bytes, None]:
    """Yield a stream's objects: whatever is between line feeds."""
    check_stream(response, hints=hints)
    rest = b""
    try:
        async for piece in response.aiter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in filter(bytes.strip, lines):
                yield line
    except httpx.TransportError as exc:
        raise broken(exc) from exc
    if rest.strip():
        yield rest


def _writes(model: ListResponse.Model) -> bool:
    family = (model.details and model.details.family) or ""
    name = (model.model or "").lower()
    return "bert" not in family.lower() and not any(word in name for word in _EMBEDDERS)


def _messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return messages as Ollama has them: arguments are objects, and results name the tool instead of the call."""
    told, names = [], {}
    for message in messages:
        said: dict[str, Any] = {"role": message.role.value, "content": message.content or ""}
        called = [block for block in message.blocks if block.block_type == "tool_call"]
        if called:
            names.update({block.tool_call_id: block.tool_name for block in called})
            said["tool_calls"] = [
                {"function": {"name": block.tool_name, "arguments": _object(block.tool_kwargs)}} for block in called
            ]
        if name := names.get(message.additional_kwargs.get("tool_call_id")):
            said["tool_name"] = name
        told.append(said)
    return told


def _object(arguments: object) -> dict[str, Any]:
    return arguments if isinstance(arguments, dict) else {"input": arguments}


def _offered(tools: Tools | None) -> list[dict[str, object]] | None:
    return None if tools is None or tools.choice == "none" else [told_tool(tool) for tool in tools.offered]


def _chunk(data: ChatResponse) -> Chunk:
    prompt, completion = data.prompt_eval_count, data.eval_count
    counted = prompt is not None or completion is not None
    prompt, completion = prompt or 0, completion or 0
    return Chunk(
        text=data.message.content or "",
        reasoning=data.message.thinking or "",
        finish_reason=(data.done_reason or "stop") if data.done else None,
        usage=Usage(prompt, completion, prompt + completion) if counted else None,
        model=data.model or None,
        calls=tuple(
            # each call comes whole, and none has a number: those of several pieces are told apart by ids of our own
            CallPiece(0, json.dumps(dict(call.function.arguments)), id=f"call_{uuid4().hex}", name=call.function.name)
            for call in data.message.tool_calls or ()
        ),
    )
