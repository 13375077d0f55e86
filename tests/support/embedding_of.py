"""The tests' embedding model as LlamaIndex's class, for its own indexes and retrievers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from embedding.embedder import Embedder


class EmbeddingOf(BaseEmbedding):
    """An embedder, for threads without an event loop and for any loop."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(model_name="tests")
        self._embedder = embedder

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._embedder.queries([query]))[0].tolist()

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._embedder.texts([text]))[0].tolist()

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return (await self._embedder.texts(texts)).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return _elsewhere(self._aget_query_embedding(query))

    def _get_text_embedding(self, text: str) -> list[float]:
        return _elsewhere(self._aget_text_embedding(text))

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return _elsewhere(self._aget_text_embeddings(texts))


def _elsewhere(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a thread of its own, whether or not this one runs a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
