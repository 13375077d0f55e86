"""An embedding model in this process: opened once, and shared by concurrent questions in micro-batches."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from contextvars import Context
from math import ceil
from typing import TYPE_CHECKING

import structlog

from config.settings import EmbeddingSettings
from config.telemetry.metrics import expect_calls
from embedding.errors import EmbeddingFailed
from embedding.files import ModelFiles, accepted
from embedding.model_threads import ModelThreads
from embedding.observation import PROVIDER, observed_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedding.encoders import Encoder
    from embedding.onnx_model import Batch

QUERY_BATCH = 8  # questions that one thread embeds together
_log = structlog.get_logger(__name__)


class LocalEmbedder:
    """The loaded model, on threads of its own.

    Questions that wait while the model is busy are embedded together in its next calls: nobody waits for a batch to
    fill, and none is larger than ``batch_size``. A long list of passages lets a question in between two of its batches.
    """

    width = 1  # calls of `texts` at once

    def __init__(self, encoder: Encoder, *, files: ModelFiles, settings: EmbeddingSettings) -> None:
        self.files = files
        self.identity = files.identity(settings)
        self.accepted = accepted(files, settings)
        self._encoder = encoder
        expect_calls(PROVIDER)
        self._window = settings.batch_size
        self._threads = ModelThreads(encoder.threads, name="embedding", settle=encoder.settle)
        self._waiting: list[tuple[str, asyncio.Future[NDArray[np.float32]]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def query(self, text: str) -> NDArray[np.float32]:
        """Embed a question; shape (dimension,), float32.

        Raises:
            EmbeddingFailed: the model failed.

        """
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if self._worker is None or self._worker.done():
            # of no request: what it logs is not only about the one that it began with
            self._worker = asyncio.create_task(self._serve(), context=Context())
        with self._observed(1):
            return await future

    async def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed several short texts as questions; shape (len(texts), dimension)."""
        with self._observed(len(texts)):
            return await self._call(list(texts), "query")

    async def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages; shape (len(texts), dimension), float32.

        Raises:
            EmbeddingFailed: the model failed.

        """
        with self._observed(len(texts)):
            return await self._call(list(texts), "text")

    def close(self) -> None:
        """Let the calls in hand finish and end the threads."""
        self._threads.close()

    def _observed(self, texts: int) -> AbstractContextManager[None]:
        return observed_call(self.files.name, dimension=self.identity.dimension, texts=texts)

    async def _serve(self) -> None:
        while self._waiting:
            window, self._waiting = self._waiting[: self._window], self._waiting[self._window :]
            window.sort(key=lambda asked: len(asked[0]))  # a call is padded to its longest
            size = min(QUERY_BATCH, ceil(len(window) / self._encoder.threads))
            await asyncio.gather(*(self._answer(window[begin : begin + size]) for begin in range(0, len(window), size)))

    async def _answer(self, batch: list[tuple[str, asyncio.Future[NDArray[np.float32]]]]) -> None:
        batch = [(text, future) for text, future in batch if not future.done()]  # its asker may have left
        if not batch:
            return
        try:
            vectors = await self._call([text for text, _ in batch], "query")
        except EmbeddingFailed as exc:
            for _, future in batch:
                if not future.done():  # each asker has an error of its own, to take note of in its own trace
                    future.set_exception(_again(exc))
            return
        for (_, future), vector in zip(batch, vectors, strict=True):
            if not future.done():
                future.set_result(vector)

    async def _call(self, texts: list[str], prompt: str) -> NDArray[np.float32]:
        try:
            return await self._embed(texts, prompt)
        except Exception as exc:  # noqa: BLE001
            # the backends raise whatever they like; their messages may quote the text
            error = type(exc.exceptions[0] if isinstance(exc, ExceptionGroup) else exc).__name__
            _log.exception("embedding failed", texts=len(texts), error=error)
            msg = f"the embedding model {self.files.name} failed ({error})"
            raise _logged(EmbeddingFailed(msg)) from None

    async def _embed(self, texts: list[str], prompt: str) -> NDArray[np.float32]:
        import numpy as np

        batches = await self._threads.call(self._prepare, texts, prompt)
        if not isinstance(batches, list):
            return batches
        vectors = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        await self._threads.fill(vectors, batches, run=self._encoder.encode)
        return vectors

    def _prepare(self, texts: list[str], prompt: str) -> list[Batch] | NDArray[np.float32]:
        """Make batches of texts; of a single one, its vectors: a question needs no second way to a thread."""
        batches = self._encoder.batches(texts, prompt=prompt)
        if len(batches) != 1:
            return batches
        (batch,) = batches
        return self._encoder.encode(batch)[batch.places.argsort()]


def _logged(error: EmbeddingFailed) -> EmbeddingFailed:
    error.was_logged = True
    return error


def _again(error: EmbeddingFailed) -> EmbeddingFailed:
    return _logged(EmbeddingFailed(str(error)))
