"""The protocol of OpenAI's API, as OpenAI and compatible servers speak it.

https://platform.openai.com/docs/api-reference/chat/streaming: events, each one JSON object, then ``[DONE]``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Mapping

import httpx

from server.answers import Usage
from server.engines.models.errors import ModelRejected, ModelUnavailable
from server.engines.models.provider import Chunk, Request
from server.engines.models.wire import Wire, complaint, drain, parse, refusal

OPENAI_URL = "https://api.openai.com/v1"
MOST_STOPS = 4

_REFUSED = re.compile(
    r"un(supported|known|recognized|expected)|not (supported|permitted|allowed)|extra|invalid", re.IGNORECASE
)
_OTHER_NAME = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}
_OPTIONAL = ("stream_options", "max_completion_tokens", "max_tokens", "temperature", "stop")


class OpenAICompatible:
    """A server that speaks OpenAI's protocol, by ``/chat/completions`` or, for base models, ``/completions``.

    Which parameters are taken differs between models and servers (reasoning models want ``max_completion_tokens`` and
    no ``temperature``; older servers know no ``stream_options``). No list of names keeps up with that: a parameter that
    is refused by name is left out, or renamed, from then on. ``extra`` goes into each request as it is.
    """

    def __init__(
        self, wire: Wire, *, name: str, model: str, is_chat: bool, extra: Mapping[str, object] | None = None
    ) -> None:
        self._wire = wire
        self._extra = dict(extra or {})
        self.name = name
        self.model = model
        self.is_chat = is_chat
        self._refused: frozenset[str] = frozenset()

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Ask once; see `Provider.chunks`."""
        refused = self._refused
        while True:
            body = self._body(request, refused)
            async with contextlib.aclosing(self._ask(body)) as answer:
                try:
                    async for chunk in answer:
                        self._refused = refused  # it was taken
                        yield chunk
                except ModelRejected as error:
                    parameter = _refused_parameter(error, body)
                    if parameter is None or parameter in refused:
                        raise
                    refused |= {parameter}
                else:
                    return

    async def probe(self) -> str | None:
        """Ask for the list of models; servers without one count as ready."""
        try:
            status, _ = await self._wire.get("/models")
        except ModelUnavailable as error:
            return str(error)
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return "the model's provider does not accept the key; check FOOTNOTE_LLM__API_KEY"
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return f"the model's provider fails with status {status}"
        return None

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    def _body(self, request: Request, refused: frozenset[str]) -> dict[str, object]:
        limit = "max_completion_tokens" if self.name == "openai" else "max_tokens"
        body: dict[str, object] = {
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            limit: request.max_tokens,
            **self._extra,
        }
        if self.is_chat:
            body["messages"] = [{"role": role, "content": text} for role, text in request.messages]
        else:
            body["prompt"] = request.prompt
        if request.stop:
            body["stop"] = list(request.stop[:MOST_STOPS] if self.name == "openai" else request.stop)
        for parameter in refused & body.keys():
            value = body.pop(parameter)
            other = _OTHER_NAME.get(parameter)
            if other and other not in refused:
                body[other] = value
        return body

    async def _ask(self, body: dict[str, object]) -> AsyncGenerator[Chunk, None]:
        path = "/chat/completions" if self.is_chat else "/completions"
        async with contextlib.aclosing(self._wire.lines(path, body)) as lines:
            async for line in lines:
                field, _, value = line.partition(":")
                value = value.strip()
                if field != "data":
                    continue  # comments and event names
                if value == "[DONE]":
                    await drain(lines)
                    return
                yield self._chunk(parse(value))

    def _chunk(self, data: dict[str, object]) -> Chunk:
        if data.get("error"):
            message, code, status = complaint(data["error"])
            raise refusal(status, hints=self._wire.hints, detail=message, code=code)
        choices = data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        choice = choice if isinstance(choice, dict) else {}
        delta = choice.get("delta")
        content = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        reason, model = choice.get("finish_reason"), data.get("model")
        return Chunk(
            text=_text(content),
            finish_reason=reason if isinstance(reason, str) and reason else None,
            usage=_usage(data.get("usage")),
            model=model if isinstance(model, str) and model else None,
        )


def _text(content: object) -> str:
    """Return the answer's text; some servers send a list of parts, reasoning among them."""
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(_text(part.get("text")) for part in parts)
    return content if isinstance(content, str) else ""


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = (
        count if isinstance(count := usage.get(name), int) else 0 for name in ("prompt_tokens", "completion_tokens")
    )
    return Usage(prompt, completion, prompt + completion)


def _refused_parameter(error: ModelRejected, body: dict[str, object]) -> str | None:
    """Return the parameter that the provider names as one that it does not take."""
    if not _REFUSED.search(error.detail):
        return None
    named = re.findall(r"[a-z_]+", error.detail.lower())
    return min((name for name in _OPTIONAL if name in body and name in named), key=named.index, default=None)
