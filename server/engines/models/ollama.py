"""The protocol of Ollama: https://docs.ollama.com/api/chat; one JSON object a line, the last with ``done``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import httpx

from server.answers import Usage
from server.engines.models.errors import ModelUnavailable
from server.engines.models.provider import Chunk, Request
from server.engines.models.wire import Hints, Wire, complaint, drain, parse, refusal

_EMBEDDERS = ("embed", "minilm", "bge-", "rerank", "paraphrase-", "gte-", "e5-")


def hints(model: str) -> Hints:
    """Return what to tell an operator whose Ollama refuses."""
    return Hints(
        address="FOOTNOTE_LLM__OLLAMA_BASE_URL",
        key="FOOTNOTE_LLM__OLLAMA_BASE_URL",
        unknown_model=f"get it with `ollama pull {model}`, or set FOOTNOTE_LLM__MODEL",
    )


class Ollama:
    """A model of an Ollama server, by ``/api/chat``."""

    name = "ollama"
    is_chat = True

    def __init__(self, wire: Wire, *, model: str, context_window: int) -> None:
        self._wire = wire
        self.model = model
        self._context_window = context_window

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Ask once; see `Provider.chunks`."""
        async with contextlib.aclosing(self._wire.lines("/api/chat", self._body(request))) as lines:
            async for line in lines:
                data = parse(line)
                if data.get("error"):
                    message, code, status = complaint(data["error"])
                    raise refusal(status, hints=self._wire.hints, detail=message, code=code)
                yield _chunk(data)
                if data.get("done"):
                    await drain(lines)
                    return

    async def probe(self) -> str | None:
        """Look whether the server is there and has the model."""
        try:
            models = await installed(self._wire)
        except ModelUnavailable as error:
            return str(error)
        if self.model not in models and f"{self.model}:latest" not in models:
            return f"Ollama does not have the model; {self._wire.hints.unknown_model}"
        return None

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    def _body(self, request: Request) -> dict[str, object]:
        return {
            "model": self.model,
            "stream": True,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "options": {
                "num_ctx": self._context_window,
                "num_predict": request.max_tokens,
                "temperature": request.temperature,
                **({"stop": list(request.stop)} if request.stop else {}),
            },
        }


async def installed(wire: Wire, *, timeout: float = 2.0) -> list[str]:  # noqa: ASYNC109 (passed on)
    """Return the names of the models that an Ollama server has and that write text.

    Raises:
        ModelUnavailable: nobody answers within ``timeout`` seconds, or it is no Ollama that does.

    """
    status, data = await wire.get("/api/tags", timeout=timeout)
    models = data.get("models") if isinstance(data, dict) else None
    if status != httpx.codes.OK or not isinstance(models, list):
        msg = "the server at FOOTNOTE_LLM__OLLAMA_BASE_URL does not answer as Ollama does"
        raise ModelUnavailable(msg)
    return [str(model["name"]) for model in models if isinstance(model, dict) and "name" in model and _writes(model)]


def _writes(model: dict[str, object]) -> bool:
    details = model.get("details")
    family = str(details.get("family", "")) if isinstance(details, dict) else ""
    name = str(model["name"]).lower()
    return "bert" not in family.lower() and not any(word in name for word in _EMBEDDERS)


def _chunk(data: dict[str, object]) -> Chunk:
    message = data.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    prompt, completion = data.get("prompt_eval_count"), data.get("eval_count")
    counted = isinstance(prompt, int) or isinstance(completion, int)
    prompt, completion = (count if isinstance(count, int) else 0 for count in (prompt, completion))
    model = data.get("model")
    return Chunk(
        text=content if isinstance(content, str) else "",
        finish_reason=str(data.get("done_reason") or "stop") if data.get("done") else None,
        usage=Usage(prompt, completion, prompt + completion) if counted else None,
        model=model if isinstance(model, str) and model else None,
    )
