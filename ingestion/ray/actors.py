"""What runs on the cluster's nodes: one class that reads files, one that embeds. They know nothing of Ray.

``ready`` brings what the other methods need: given to the constructor, Ray would lose it if it is large, and could not
restart the actor. A method returns `Refused` where it cannot do its work, `NOT_READY` where nobody has prepared it; an
exception is the end of the process, or a mistake of ours.
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
    """Why there is no result; one sentence for people, with no text of a document."""

    reason: str


NOT_READY = "not ready"


@dataclass(frozen=True, slots=True)
class ParsingJob:
    """What a reader must know.

    Attributes:
        tokenizer: the content of ``tokenizer.json``; its file need not be on the node.
        folder: name of the actor's folder among the node's temporary files; the actor that replaces it has the same.

    """

    tokenizer: bytes
    max_tokens: int
    overlap: int
    settings: IngestionSettings
    log: LogSettings
    folder: str


class ParsingActor:
    """Reads and splits one file at a time, in a process of its own with a bound on time and memory."""

    def __init__(self) -> None:
        self._job: ParsingJob | None = None
        self._parser: Parser | None = None
        self._files = 0

    async def ready(self, job: ParsingJob) -> Refused | None:
        """Make the folder and the parser, after clearing away what a killed predecessor left."""
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
        """Do `Parser.parse`'s work for a file of this name and content."""
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
        """End the reading process and leave nothing behind."""
        if self._job is not None and self._parser is not None:
            await asyncio.to_thread(self._parser.close)
            shutil.rmtree(_folder(self._job), ignore_errors=True)

    async def _parsed(self, path: Path, job: ParsingJob) -> Parsed | Skipped | Refused:
        parser = self._parser = self._parser or _open_parser(job)
        try:
            return await parser.parse(path)
        except RuntimeError:  # Pebble's pool is broken for good once an idle process of it was killed
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
        settings=job.settings,
    )


@dataclass(frozen=True, slots=True)
class EmbeddingJob:
    """What an embedding actor must know.

    Attributes:
        settings: without anything secret; the model's threads are those of one actor.
        fingerprint: of the model that the vectors must come from.
        opener: ``module:function`` that makes an `Embedder` of the settings.

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
        """Load the model; takes seconds, and some more for the first ONNX export on a node."""
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
    """Return the folder if it can be had on this node, else one among its temporary files."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="footnote-models-"))


def _log_as(settings: LogSettings) -> None:
    from config import logging as logs

    logs.configure(settings)  # to the log files that Ray keeps for each of its workers


def named(result: Parsed | Skipped, path: Path) -> Parsed | Skipped:
    """Return a result under the path that its file has where the command runs."""
    return replace(result, path=path)
