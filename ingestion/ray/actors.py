"""The actors on the cluster's nodes: one class that reads files, one that embeds. They do not import Ray.

``ready`` passes what the other methods need: as constructor arguments, Ray would lose large ones and could not restart
the actor. A method returns `Refused` if it cannot do its work, and `NOT_READY` before ``ready``; an exception is a bug
or the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import FootnoteError
from config.settings import IngestionSettings, LogSettings, Settings
from ingestion.types import Parsed, Skipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedding.embedder import Embedder
    from ingestion.readers.process_pool import Parser

OPENER = "embedding.opening:open_embedder"


@dataclass(frozen=True, slots=True)
class Refused:
    """The reason for a missing result: one sentence, with no text of a document."""

    reason: str


NOT_READY = "not ready"


@dataclass(frozen=True, slots=True)
class ParsingJob:
    """Settings of a reader.

    Attributes:
        tokenizer: the content of ``tokenizer.json``, which may not exist on the node.
        folder: name of the actor's folder among the node's temporary files; kept across restarts.

    """

    tokenizer: bytes
    max_tokens: int
    overlap: int
    language: str
    settings: IngestionSettings
    log: LogSettings
    folder: str


class ParsingActor:
    """Reads and splits one file at a time, in a subprocess with bounded time and memory."""

    def __init__(self) -> None:
        self._job: ParsingJob | None = None
        self._parser: Parser | None = None
        self._files = 0

    async def ready(self, job: ParsingJob) -> Refused | None:
        """Create the folder and the parser, after removing what a killed predecessor left."""
        if self._parser is None:
            _log_as(job.log)
            folder = _folder(job)
            try:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(mode=0o700)
                (folder / "tokenizer.json").write_bytes(job.tokenizer)
            except OSError as exc:
                return Refused(f"{socket.gethostname()} has no room for temporary files ({type(exc).__name__})")
            self._job, self._parser = job, _open_parser(job)
        return None

    async def parse(self, name: str, data: bytes) -> Parsed | Skipped | Refused | str:
        """Read and split a file with this name and content."""
        if self._job is None:
            return NOT_READY
        self._files += 1
        folder = _folder(self._job) / str(self._files)
        path = folder / name
        try:
            folder.mkdir()
            await asyncio.to_thread(path.write_bytes, data)
            return await self._parsed(path, self._job)
        except OSError as exc:
            return Refused(f"{socket.gethostname()} cannot keep the file while reading it ({type(exc).__name__})")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def stop(self) -> None:
        """End the reading process and remove its files."""
        if self._job is not None and self._parser is not None:
            await asyncio.to_thread(self._parser.close)
            shutil.rmtree(_folder(self._job), ignore_errors=True)

    async def _parsed(self, path: Path, job: ParsingJob) -> Parsed | Skipped | Refused:
        parser = self._parser = self._parser or _open_parser(job)
        try:
            return await parser.parse(path)
        except RuntimeError:  # Pebble's pool does not recover from an idle process being killed
            if self._parser is parser:
                self._parser = None
                await asyncio.to_thread(parser.close)
        parser = self._parser = self._parser or _open_parser(job)
        try:
            return await parser.parse(path)
        except RuntimeError:
            return Refused("the reader crashed on it")


def _folder(job: ParsingJob) -> Path:
    return Path(tempfile.gettempdir()) / job.folder


def _open_parser(job: ParsingJob) -> Parser:
    from ingestion.readers.process_pool import Parser

    return Parser(
        tokenizer_file=_folder(job) / "tokenizer.json",
        max_tokens=job.max_tokens,
        overlap=job.overlap,
        language=job.language,
        settings=job.settings,
    )


@dataclass(frozen=True, slots=True)
class EmbeddingJob:
    """Settings of an embedding actor.

    Attributes:
        settings: without secrets; the model's threads are those of one actor.
        fingerprint: of the required model.
        opener: ``module:function`` that opens an `Embedder` from the settings.

    """

    settings: Settings
    fingerprint: str
    opener: str = OPENER


class EmbeddingActor:
    """Holds the embedding model."""

    def __init__(self) -> None:
        self._embedder: Embedder | None = None
        self._opening = asyncio.Lock()

    async def ready(self, job: EmbeddingJob) -> Refused | None:
        """Load the model; this takes seconds, and longer for the first ONNX export on a node."""
        async with self._opening:
            if self._embedder is None:
                _log_as(job.settings.log)
                try:
                    self._embedder = await asyncio.to_thread(_open_model, job)
                except FootnoteError as exc:
                    return Refused(f"{socket.gethostname()}: {exc}")
        return None

    async def texts(self, texts: Sequence[str]) -> NDArray[np.float32] | Refused | str:
        """Embed passages; shape (len(texts), dimension)."""
        if self._embedder is None:
            return NOT_READY
        try:
            return await self._embedder.texts(texts)
        except FootnoteError as exc:
            return Refused(str(exc))

    async def stop(self) -> None:
        """Do nothing: the model ends with its process."""


def _open_model(job: EmbeddingJob) -> Embedder:
    from embedding.errors import EmbeddingModelNotFound

    settings = job.settings.model_copy(update={"data_dir": _writable(job.settings.data_dir)})
    module, _, function = job.opener.partition(":")
    embedder: Embedder = getattr(import_module(module), function)(settings)
    if embedder.identity.fingerprint != job.fingerprint:
        msg = (
            f"{settings.embedding.model} is another model here than where the command runs; put the same files "
            "on every node, or name a hub model's commit in FOOTNOTE_EMBEDDING__REVISION"
        )
        raise EmbeddingModelNotFound(msg)
    return embedder


def _writable(folder: Path) -> Path:
    """Return the folder if it is writable on this node, else one among its temporary files."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="footnote-models-"))


def _log_as(settings: LogSettings) -> None:
    from config import logging as logs

    logs.configure(settings)  # to the log files that Ray keeps for each worker


def named(result: Parsed | Skipped, path: Path) -> Parsed | Skipped:
    """Return a result with the path of its file on the machine of the command."""
    return replace(result, path=path)
