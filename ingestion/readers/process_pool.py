"""Reading and splitting in worker processes: a file that crashes, hangs or exhausts memory affects only itself."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from opentelemetry import trace

from config.settings import IngestionSettings
from config.telemetry import spans
from embedding.tokenizer import load_tokenizer
from ingestion.errors import Unreadable
from ingestion.names import reason_of, size_as_text
from ingestion.read_options import read_options
from ingestion.readers.pool import MAX_POOLS, PoolBroken, done_in, end, interrupts_blocked, new_pool
from ingestion.types import Parsed, ReadOptions, Skipped

if TYPE_CHECKING:
    from pebble import ProcessPool
    from tokenizers import Tokenizer

_BLOCK = 1 << 20
_FILES_PER_WORKER = 2000  # then the worker is replaced: C libraries leak


def too_large(limit: int) -> str:
    """Return the reason for skipping a larger file."""
    return f"larger than {size_as_text(limit)}, the limit set by FOOTNOTE_INGESTION__MAX_FILE_BYTES"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits, reading a megabyte at a time.

    Raises:
        OSError: it cannot be read.

    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Job:
    """Settings of the workers, the same for all files."""

    tokenizer_file: str
    max_tokens: int
    overlap: int
    max_file_bytes: int
    options: ReadOptions


class Parser:
    """Reads and splits files in worker processes, one file each at a time.

    `width` is the number of files read at once. Workers start with the first file, and are replaced when lost. Use it
    as an async context manager, or call `close`.
    """

    def __init__(
        self,
        *,
        tokenizer_file: Path,
        max_tokens: int,
        overlap: int,
        settings: IngestionSettings,
        language: str = "simple",
    ) -> None:
        self.width = settings.parse_workers
        self._turns = asyncio.Semaphore(self.width)  # so that no file waits for others inside the pool
        self._job = _Job(
            str(tokenizer_file), max_tokens, overlap, settings.max_file_bytes, read_options(settings, language=language)
        )
        self._timeout = settings.parse_timeout
        self._memory = settings.parse_memory_bytes
        self._pool = self._new_pool()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    async def parse(self, path: Path) -> Parsed | Skipped:
        """Read and split a file; return `Skipped` if it cannot be read, whatever the reason.

        Cancellation ends the worker that reads the file; another replaces it.
        """
        from pebble import ProcessExpired

        try:
            async with self._turns:
                for _ in range(MAX_POOLS):
                    pool = self._pool
                    try:
                        return await done_in(pool, parse_file, path, self._job, seconds=self._timeout)
                    except PoolBroken:
                        await self._replace(pool)
            return _lost(path, MemoryError(), "its reader was killed, again and again")
        except TimeoutError as exc:
            return _lost(path, exc, f"reading it took longer than {self._timeout:g} seconds")
        except MemoryError as exc:
            return _lost(path, exc, f"reading it took more than {self._memory >> 20} MiB of memory")
        except ProcessExpired as exc:
            return _lost(path, exc, "the reader crashed on it")

    async def _replace(self, broken: ProcessPool) -> None:
        if self._pool is broken:
            with interrupts_blocked():
                self._pool = self._new_pool()
            await asyncio.to_thread(end, broken)

    def _new_pool(self) -> ProcessPool:
        return new_pool(workers=self.width, tasks=_FILES_PER_WORKER, memory=self._memory)

    def close(self) -> None:
        """End the workers at once, also those that are reading."""
        end(self._pool)


def _lost(path: Path, error: Exception, reason: str) -> Skipped:
    """Record a lost worker in the current span; return the skipped file."""
    spans.failed(trace.get_current_span(), error)
    return Skipped(path, reason)


def parse_file(path: Path, job: _Job) -> Parsed | Skipped:
    """Read and split a file, in a worker."""
    splitter = load_tokenizer(job.tokenizer_file)
    try:
        return _parse(path, job, splitter)
    except Unreadable as exc:
        return Skipped(path, str(exc))
    except OSError as exc:
        return Skipped(path, reason_of(exc))
    except RecursionError:
        return Skipped(path, "it is nested too deeply")
    except MemoryError:
        raise  # the parent reports it with the limit
    except Exception as exc:  # noqa: BLE001 (readers are other people's code on hostile input: any of it may fail)
        return Skipped(path, f"the reader failed on it ({type(exc).__name__})")


def _parse(path: Path, job: _Job, tokenizer: Tokenizer) -> Parsed:
    from ingestion.chunking.counting import Counts
    from ingestion.chunking.long_tables import with_repeated_headers
    from ingestion.chunking.splitter import split
    from ingestion.readers import read

    data = _bytes_of(path, limit=job.max_file_bytes)
    extracted = read(path, data=data, options=job.options)
    counts = Counts(tokenizer, max_tokens=job.max_tokens)
    extracted = with_repeated_headers(extracted, tokenizer=tokenizer, max_tokens=job.max_tokens, counts=counts)
    chunks = split(extracted, tokenizer=tokenizer, max_tokens=job.max_tokens, overlap=job.overlap, counts=counts)
    if job.options.transformations:
        from ingestion.readers.transforming import transformed

        codes = job.options.transformations
        extracted, chunks = transformed(extracted, chunks, codes, tokenizer=tokenizer, max_tokens=job.max_tokens)
    return Parsed(
        path=path,
        title=extracted.title,
        text_length=len(extracted.text),
        metadata=extracted.metadata,
        chunks=chunks,
        content_hash=hashlib.sha256(data).hexdigest(),
        size=len(data),
        pages=extracted.pages,
        labels=extracted.labels,
        repeated=extracted.repeated if extracted.pages else (),
        warnings=extracted.warnings,
        attachments=extracted.attachments,
    )


def _bytes_of(path: Path, *, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes once, so that the bytes hashed are those parsed."""
    descriptor = os.open(
        path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
    )  # do not block on a named pipe
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 (a descriptor, no path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            msg = "no regular file"
            raise Unreadable(msg)
        data = b"" if status.st_size > limit else _read(file.read, limit + 1)  # it may grow while it is read
    if max(len(data), status.st_size) > limit:
        raise Unreadable(too_large(limit))
    return data


def _read(read: Callable[[int], bytes], length: int) -> bytes:
    blocks, left = [], length
    while left and (block := read(min(left, 64 * _BLOCK))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)
