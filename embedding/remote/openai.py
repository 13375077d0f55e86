"""OpenAI's protocol: ``POST …/embeddings``, which TEI, vLLM, LM Studio and llama-server speak too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from embedding.errors import EmbeddingFailed
from embedding.remote.faults import NoDimensions
from embedding.remote.http import JsonLink
from embedding.remote.provider import Prompt, Reply
from embedding.remote.vectors import unit_vectors

OPENAI_URL = "https://api.openai.com/v1"
_log = structlog.get_logger(__name__)


class OpenAIProtocol:
    """A server that speaks OpenAI's protocol."""

    def __init__(self, link: JsonLink, *, name: str, model: str, dimensions: int | None, is_base64: bool) -> None:
        """Take a connection; `is_base64`: ask for vectors in base64, a third of the size."""
        self.name = name
        self._link = link
        self._model = model
        self._dimensions = dimensions
        self._form = "base64" if is_base64 else "float"

    async def embed(self, texts: Sequence[str], *, prompt: Prompt) -> Reply:  # noqa: ARG002 (instructions are in the texts)
        """Embed a batch; see `Provider`."""
        try:
            answer = await self._link.post("embeddings", self._body(texts))
        except NoDimensions:
            if self._dimensions is None:
                raise
            _log.warning("the embedding provider does not take `dimensions`, which are left out", model=self._model)
            self._dimensions = None  # what comes is checked all the same
            answer = await self._link.post("embeddings", self._body(texts))
        return Reply(unit_vectors(_in_order(answer.get("data")), texts=len(texts)), tokens=_tokens(answer.get("usage")))

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    def _body(self, texts: Sequence[str]) -> dict[str, Any]:
        wanted = {} if self._dimensions is None else {"dimensions": self._dimensions}
        return {"model": self._model, "input": list(texts), "encoding_format": self._form, **wanted}


def _in_order(data: object) -> list[object]:
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        msg = "the embedding server's answer has no list `data`; check BASE_URL"
        raise EmbeddingFailed(msg)
    places = [each.get("index", number) for number, each in enumerate(data)]
    if sorted(map(repr, places)) != sorted(map(repr, range(len(data)))):
        msg = "the embedding server's answer does not say which vector is whose"
        raise EmbeddingFailed(msg)
    return [each.get("embedding") for _, each in sorted(zip(places, data, strict=True), key=lambda pair: pair[0])]


def _tokens(usage: object) -> int | None:
    counted = usage.get("prompt_tokens", usage.get("total_tokens")) if isinstance(usage, dict) else None
    return counted if isinstance(counted, int) and counted > 0 else None
