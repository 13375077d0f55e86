"""OpenAI and compatible servers, through LlamaIndex's `OpenAI` and `OpenAILike` and the SDK under them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx

from server.answers import Usage
from server.engines.models.connections import connection_options, shown
from server.engines.models.errors import ModelError, ModelRejected
from server.engines.models.event_data import EventData
from server.engines.models.failures import (
    UNNAMED,
    Hints,
    broken,
    check_document,
    check_stream,
    is_stream,
    refusal_text,
    refused,
    unreached,
)
from server.engines.models.openai_tools import call_pieces, told_tools
from server.engines.models.provider import Chunk, Request
from server.engines.models.response_forms import ResponseForms
from server.engines.models.transport import FastClient
from server.tool_calls import Tools

OPENAI_URL = "https://api.openai.com/v1"
MAX_STOPS = 4
PROBE_TIMEOUT = 2.0
DONE = "[DONE]"
NO_KEY = "none"
"""Sent to servers that need no key; the SDK requires one."""

_HINTS = Hints()
_OTHER_NAME = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}
_OPTIONAL = (
    "stream_options",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "stop",
    "response_format",
    "parallel_tool_calls",
)
_UNCHANGING = "stream_options"  # no request can change its value, so that what is refused is the parameter

_NO_SCHEMAS = re.compile(r"response_format|json_schema|structured.outputs?", re.IGNORECASE)
_UNKNOWN_KIND = re.compile(r"(un(known|supported|recogni[sz]ed|expected)|extra)_(parameter|argument|field|property)")
_QUOTE = r"[\"'`]?"
_NAME = rf"{_QUOTE}\b({'|'.join(_OPTIONAL)})\b{_QUOTE}"
_OTHERS = rf"{_QUOTE}\w+{_QUOTE}"
_NOUN = r"(?:request |keyword |body )?(?:parameter|argument|field|keyword|property|properties|name)s?"
_PARTICIPLE = r"(?:supported|known|recogni[sz]ed|permitted|allowed|expected|accepted)"
_UNKNOWN = rf"(?:un(?:supported|known|recogni[sz]ed|expected)|not {_PARTICIPLE})"
_HERE = r"(?: (?:with|for|on|by|in) (?:this|the) (?:model|server|endpoint|api|engine))?"
_END = rf"{_HERE}(?:\W*$|[.;)](?:\s|$))"
_NOT_A_PARAMETER = re.compile(
    rf"{_UNKNOWN} {_NOUN}(?: supplied)?:? (?:{_OTHERS}, )*{_NAME}(?:, {_OTHERS})*(?: is {_UNKNOWN})?{_END}"
    rf"|{_NOUN} {_UNKNOWN}{_HERE}: {_NAME}{_END}"
    rf"|(?:does not|doesn't) (?:support|accept|know|recogni[sz]e) (?:the )?{_NOUN}:? {_NAME}{_END}"
    rf"|(?:^|{_NOUN}:? ){_NAME} is {_UNKNOWN}{_END}"
    rf"|{_NAME} is not an? (?:{_PARTICIPLE}|valid) {_NOUN}{_END}"
    rf"|unknown name {_NAME}: cannot find field"
    rf"|{_NAME}: extra (?:inputs|fields) (?:are )?not permitted"
    rf"|[\"']loc[\"']: [\[(](?:[\"']body[\"'], )?{_NAME},?[\])], [\"']msg[\"']: [\"']extra (?:inputs|fields)"
    rf"|additional properties are not allowed \((?:{_OTHERS}, )*{_NAME}(?:, {_OTHERS})* w(?:as|ere) unexpected",
    re.IGNORECASE,
)
"""Words that can only mean a parameter, whatever its value; what else a refusal says is of that request alone."""

_ONLY_THE_DEFAULT = re.compile(r"\btemperature\b.*\bonly the default\b.{0,20}\bsupported", re.IGNORECASE)
_KEPT_TEMPERATURES = 32


class OpenAICompatible:
    """An OpenAI-compatible server, through ``/chat/completions`` or, for base models, ``/completions``.

    Which parameters are accepted differs between models and servers (reasoning models need ``max_completion_tokens``
    and refuse ``temperature``; older servers do not know ``stream_options``). No list of names keeps up with that: a
    parameter that the server says it does not know is omitted, or renamed, from then on. One whose value it refuses is
    that request's affair, which is rejected: others may be well served. Reasoning models that take only the default
    temperature are asked again without it; that is kept for this one temperature. For JSON schemas see
    `ResponseForms`. ``extra`` goes into each request as it is.

    Of the SDK's client inside LlamaIndex's object, the address, the headers and the list of models are used; answers
    are asked for through the HTTP client under it. LlamaIndex's own generator ignores a request's ``max_tokens`` if one
    is configured, and closing it does not close the connection; the SDK looks through the types of each message, and
    makes an object of each event, which takes more CPU than all the rest of a call.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        model: str,
        api_key: str | None,
        is_chat: bool,
        context_window: int,
        connect_timeout: float,
        on_this_machine: bool = False,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Create LlamaIndex's object on first use: it takes seconds to import.

        Raises:
            ValueError: LlamaIndex knows that the model does not speak this protocol.

        """
        import aiohttp  # noqa: F401 (either would be imported within the first question)
        import openai.resources  # noqa: F401
        from llama_index.llms.openai import OpenAI
        from llama_index.llms.openai_like import OpenAILike

        options = connection_options(connect_timeout=connect_timeout, on_this_machine=on_this_machine)
        llm = (OpenAI if name == "openai" else OpenAILike)(
            model=model,
            api_base=url.rstrip("/"),
            api_key=api_key or NO_KEY,
            max_retries=0,  # LanguageModel has the one policy
            async_http_client=(http := FastClient(**options)),
            # for OpenAILike; OpenAI looks them up by the model's name
            is_chat_model=is_chat,
            context_window=context_window,
        )
        self._client = llm._get_aclient()  # noqa: SLF001 (the only way to the client that LlamaIndex makes)
        self._http = http
        self._headers = {
            name: value for name, value in self._client.default_headers.items() if isinstance(value, str)
        } | self._client.auth_headers
        self._extra = extra or {}
        self._unknown: frozenset[str] = frozenset()
        self._forms = ResponseForms(model)
        self._temperatures: tuple[object, ...] = ()  # which it refused, as it takes only its default
        self.name = name
        self.model = model
        self.is_chat = is_chat
        self.doubt: str | None = None

    def move(self, url: str) -> None:
        """Use another address from now on: the server has restarted."""
        self._client.base_url = url

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Ask once; see `Provider.chunks`."""
        unknown, temperatures = self._unknown, self._temperatures
        forms = self._forms.of(request.schema) if request.schema and self.is_chat else iter((None,))
        form = next(forms)
        while True:
            options = self._options(request, unknown, temperatures, form)
            begun = False
            async with contextlib.aclosing(self._ask(request, options)) as answer:
                try:
                    async for chunk in answer:
                        if not begun:
                            self._keep(unknown, temperatures)  # it was taken
                        begun = True
                        yield chunk
                except ModelRejected as error:
                    if begun:
                        raise
                    if parameter := _unknown_parameter(error, request, options):
                        unknown |= {parameter}
                    elif form is not None and _NO_SCHEMAS.search(error.detail):
                        form = next(forms)
                    elif "temperature" in options and _ONLY_THE_DEFAULT.search(error.detail):
                        temperatures = (*temperatures, options["temperature"])
                    else:
                        raise
                else:
                    return

    def why_no_tools(self, tools: Tools) -> str:  # noqa: ARG002 (another provider's answer depends on them)
        """Tell whether there is a chat, which alone has tools; whether its server takes them, that alone knows."""
        return "" if self.is_chat else "cannot be used: it completes texts, and does not chat"

    async def models(self) -> list[str]:
        """Return the models that the server lists; none if it has no such list.

        Raises:
            ModelError: the server is not reachable, refuses the key, or fails.

        """
        import openai

        telling = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
        with self._named():
            try:
                page = await self._client.models.list(timeout=PROBE_TIMEOUT)
                return [model.id for model in page.data]
            except openai.APIStatusError as exc:
                if exc.status_code in telling or exc.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
            except UNNAMED:
                pass
        return []

    async def probe(self) -> str | None:
        """Request the list of models; servers without one count as ready."""
        try:
            listed = await self.models()
        except ModelError as error:
            return f"{error} (at {shown(str(self._client.base_url))}, {_HINTS.address})"
        is_listed = not listed or any(name.rpartition("/")[2] == self.model.rpartition("/")[2] for name in listed)
        self.doubt = None if is_listed else f"the server lists no model {self.model}; {_HINTS.unknown_model}"
        return None

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _keep(self, unknown: frozenset[str], temperatures: tuple[object, ...]) -> None:
        """Remember what a request that was taken had left out; others may have learnt more in the meantime."""
        self._unknown |= unknown
        more = (each for each in temperatures if each not in self._temperatures)
        self._temperatures = (*self._temperatures, *more)[-_KEPT_TEMPERATURES:]

    def _options(
        self,
        request: Request,
        unknown: frozenset[str],
        temperatures: tuple[object, ...],
        form: Mapping[str, object] | None,
    ) -> dict[str, object]:
        limit = "max_completion_tokens" if self.name == "openai" else "max_tokens"
        options: dict[str, object] = {
            **({} if request.whole else {"stream_options": {"include_usage": True}}),
            "temperature": request.temperature,
            limit: request.max_tokens,
            **self._extra,
        }
        if request.stop:
            options["stop"] = list(request.stop[:MAX_STOPS] if self.name == "openai" else request.stop)
        if form is not None:
            options["response_format"] = form
        if request.tools is not None:
            options |= told_tools(request.tools)
        if options["temperature"] in temperatures:
            del options["temperature"]
        for parameter in unknown & options.keys():
            value = options.pop(parameter)
            other = _OTHER_NAME.get(parameter)
            if other and other not in unknown:
                options[other] = value
        return options

    async def _ask(self, request: Request, options: dict[str, object]) -> AsyncGenerator[Chunk, None]:
        response = await self._answered(request, options)
        async with contextlib.aclosing(response):
            if request.whole and not is_stream(response):  # some servers stream whatever they are asked for
                yield await self._whole(response)
                return
            check_stream(response, hints=_HINTS)
            async with contextlib.aclosing(self._streamed(response)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _streamed(self, response: httpx.Response) -> AsyncGenerator[Chunk, None]:
        with _named_within():
            events, begun, ended, usage = EventData(), False, False, None
            async for piece in response.aiter_bytes():
                for data in events.feed(piece):
                    if data.startswith(DONE):
                        if begun and not ended:  # some servers give no reason; their mark ends the answer as well
                            yield Chunk(finish_reason="stop", usage=usage)
                        return
                    chunk = self._chunk(json.loads(data))
                    begun, ended = begun or bool(chunk.text or chunk.calls), ended or bool(chunk.finish_reason)
                    usage = chunk.usage or usage
                    yield chunk

    async def _whole(self, response: httpx.Response) -> Chunk:
        check_document(response, hints=_HINTS)
        with _named_within():
            chunk = self._chunk(json.loads(await response.aread()))
        # a document is complete, whether or not its server gives a reason
        return replace(chunk, finish_reason=chunk.finish_reason or "stop") if chunk.text or chunk.calls else chunk

    async def _answered(self, request: Request, options: dict[str, object]) -> httpx.Response:
        """Return the response of a request that was taken; close it.

        Raises:
            ModelError: it was not, or the server is not reachable. Errors are not chained: they may quote the prompt.

        """
        from llama_index.llms.openai.utils import to_openai_message_dicts

        asked: dict[str, Any] = {"model": self.model, "stream": not request.whole}
        if self.is_chat:
            asked["messages"] = to_openai_message_dicts(request.messages, model=self.model)
        else:
            asked["prompt"] = request.prompt
        address = str(self._client.base_url).rstrip("/") + ("/chat/completions" if self.is_chat else "/completions")
        try:
            made = self._http.build_request("POST", address, json=asked | options, headers=self._headers)
            response = await self._http.send(made, stream=True)
        except httpx.TransportError as exc:
            raise unreached(exc) from exc
        except UNNAMED as exc:
            raise broken(exc) from None
        if response.is_success:
            return response
        async with contextlib.aclosing(response):
            raise refused(await refusal_text(response), response, hints=_HINTS, key=self._client.api_key)

    def _chunk(self, event: object) -> Chunk:
        if isinstance(event, dict) and (error := event.get("error")):
            raise refused(error, None, hints=_HINTS, key=self._client.api_key)
        return chunk_of(event)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Translate the SDK's errors to ours, without chaining them: they may quote the prompt."""
        import openai

        try:
            yield
        except openai.APIConnectionError as exc:
            raise unreached(exc.__cause__) from exc
        except openai.APIError as exc:
            response = getattr(exc, "response", None)
            raise refused(exc.body, response, hints=_HINTS, key=self._client.api_key) from None
        except UNNAMED as exc:
            raise broken(exc) from None


@contextlib.contextmanager
def _named_within() -> Iterator[None]:
    """Translate the errors within an answer to ours, without chaining them: they may quote the prompt."""
    try:
        yield
    except UNNAMED as exc:
        raise broken(exc) from None


def chunk_of(event: object) -> Chunk:
    """Parse one event, or a whole answer; compatible servers omit fields, and some add their own.

    Raises:
        LookupError, TypeError: its choices are no list.

    """
    if not isinstance(event, dict):
        return Chunk()
    choices = event.get("choices")
    choice = _members(choices[0]) if choices else {}
    delta = choice.get("delta") or choice.get("message")
    said = _members(delta)
    return Chunk(
        text=_text(said.get("content") if delta else choice.get("text")),
        reasoning=_text(said.get("reasoning_content") or said.get("reasoning")) or _thoughts(said.get("content")),
        finish_reason=str(choice.get("finish_reason") or "") or None,
        usage=_usage(event.get("usage")),
        model=event.get("model") or None,
        calls=call_pieces(said.get("tool_calls")),
    )


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(content: object) -> str:
    """Return the answer's text; some servers send a list of parts, reasoning among them."""
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(_text(part.get("text")) for part in parts)
    return content if isinstance(content, str) else ""


def _thoughts(content: object) -> str:
    """Return the reasoning among an answer's parts; its text may be a list of parts again."""
    parts = content if isinstance(content, list) else ()
    thoughts = (part for part in parts if isinstance(part, dict) and part.get("type") in {"thinking", "reasoning"})
    return "".join(_text(part.get("thinking") or part.get("text")) for part in thoughts)


def _usage(usage: object) -> Usage | None:
    if usage is None:
        return None
    counts = _members(usage)
    prompt, completion = (
        count if isinstance(count := counts.get(name), int) else 0 for name in ("prompt_tokens", "completion_tokens")
    )
    return Usage(prompt, completion, prompt + completion)


def _unknown_parameter(error: ModelRejected, request: Request, options: Mapping[str, object]) -> str | None:
    """Return the parameter that the provider does not take at all; None if it refuses something else."""
    said = " ".join(error.detail.split())
    if any(map(_UNKNOWN_KIND.fullmatch, error.kinds)) and error.parameter in options:
        return error.parameter if error.parameter in _OPTIONAL else None
    # a refusal may quote a request's stop sequences, in part perhaps: their sender must not choose what is remembered
    is_quotable = any(name in stop.lower() for name in _OPTIONAL for stop in request.stop)
    words = None if is_quotable else _NOT_A_PARAMETER.search(said)
    names = [name.lower() for name in words.groups() if name] if words else []
    if _UNCHANGING in said:
        names.append(_UNCHANGING)
    return next((name for name in names if name in options), None)
