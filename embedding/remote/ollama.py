"""Ollama's own protocol: ``POST /api/embed``, which cuts what is too long only if it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embedding.errors import EmbeddingFailed
from embedding.remote.http import JsonLink
from embedding.remote.provider import Prompt, Reply
from embedding.remote.vectors import unit_vectors

OLLAMA_URL = "http://127.0.0.1:11434"


class OllamaProtocol:
    """A server of Ollama."""

    name = "ollama"

    def __init__(self, link: JsonLink, *, model: str, dimensions: int | None) -> None:
        self._link = link
        self._model = model
        self._wanted: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}

    async def embed(self, texts: Sequence[str], *, prompt: Prompt) -> Reply:
        """Embed a batch; see `Provider`."""
        # a passage that is cut in silence is not found by its end
        is_cut = prompt == "query"
        body = {"model": self._model, "input": list(texts), "truncate": is_cut, **self._wanted}
        answer = await self._link.post("api/embed", body)
        vectors, counted = answer.get("embeddings"), answer.get("prompt_eval_count")
        if not isinstance(vectors, list):
            msg = "the embedding server's answer has no list `embeddings`; check BASE_URL"
            raise EmbeddingFailed(msg)
        tokens = counted if isinstance(counted, int) and counted > 0 else None
        return Reply(unit_vectors(vectors, texts=len(texts)), tokens=tokens)

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()
