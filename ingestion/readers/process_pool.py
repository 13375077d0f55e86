"""Reading and splitting in processes of their own: a file that crashes, hangs or fills memory costs itself only."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from opentelemetry import trace

from config.settings import IngestionSettings
from config.telemetry import spans
from embedding.tokenizer import load_tokenizer
from ingestion.errors import Unreadable
from ingestion.names import reason_of
from ingestion.types import Parsed, Skipped

if TYPE_CHECKING:
    from pebble import ProcessPool
    from tokenizers import Tokenizer

_BLOCK = 1 << 20
LOOK_SECONDS = 1.0
START_SECONDS = 60.0  # for a worker to come up and take a file; a killed one may keep the pool's lock for ever
MOST_POOLS = 3
_FILES_PER_WORKER = 2000  # then a fresh one: libraries in C leak


def too_large(limit: int) -> str:
    """Say why a file of more bytes is not read."""
    return f"larger than {limit} bytes, the limit set by FOOTNOTE_INGESTION__MAX_FILE_BYTES"


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
    """What a worker must know; it stays the same for all files."""

    tokenizer_file: str
    max_tokens: int
    overlap: int
    max_file_bytes: int


class Parser:
    """Makes files into passages in worker processes, one file each at a time.

    `width` is how many files are read at once. Workers are started when the first file comes, and again when one is
    lost. Use it as an async context manager, or call `close`.
    """

    def __init__(self, *, tokenizer_file: Path, max_tokens: int, overlap: int, settings: IngestionSettings) -> None:
        self.width = settings.parse_workers
        self._turns = asyncio.Semaphore(self.width)  # so that no file waits for others once it is with the pool
        self._job = _Job(str(tokenizer_file), max_tokens, overlap, settings.max_file_bytes)
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
        """Read and split one file; what cannot be read, for whatever reason, comes back as `Skipped`.

        Cancelling ends the worker that has the file; another takes its place.
        """
        from pebble import ProcessExpired

        try:
            async with self._turns:
                for _ in range(MOST_POOLS):
                    pool = self._pool
                    try:
                        return await self._read(path, pool)
                    except _PoolBroken:
                        await self._replace(pool)
            return _lost(path, MemoryError(), "its reader was killed, again and again")
        except TimeoutError as exc:
            return _lost(path, exc, f"reading it took longer than {self._timeout:g} seconds")
        except MemoryError as exc:
            return _lost(path, exc, f"reading it took more than {self._memory >> 20} MiB of memory")
        except ProcessExpired as exc:
            return _lost(path, exc, "the reader crashed on it")

    async def _read(self, path: Path, pool: ProcessPool) -> Parsed | Skipped:
        """Read a file; a pool that breaks meanwhile would never say so."""
        try:
            with _interrupts_blocked():
                future = pool.schedule(parse_file, args=(path, self._job), timeout=self._timeout)
        except RuntimeError as exc:
            raise _PoolBroken from exc
        reading: asyncio.Future[Parsed | Skipped] = asyncio.wrap_future(future)
        try:
            began = time.monotonic()
            while not (await asyncio.wait({reading}, timeout=LOOK_SECONDS))[0]:
                is_late = not future.running() and time.monotonic() - began > START_SECONDS
                if is_late or not pool.active:
                    raise _PoolBroken
        finally:
            reading.cancel()  # one that is done is not touched by it
        return reading.result()

    async def _replace(self, broken: ProcessPool) -> None:
        """Take a new pool in place of a broken one: pebble's does not get over a worker killed while it is idle."""
        if self._pool is broken:
            with _interrupts_blocked():
                self._pool = self._new_pool()
            await asyncio.to_thread(_end, broken)

    def _new_pool(self) -> ProcessPool:
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=self.width,
            max_tasks=_FILES_PER_WORKER,
            initializer=_prepare_worker,
            initargs=(self._memory,),
            context=multiprocessing.get_context("spawn"),
        )

    def close(self) -> None:
        """End the workers, at once; a file in work is given up."""
        _end(self._pool)


class _PoolBroken(Exception):
    """Pebble has given a pool up."""


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _lost(path: Path, error: Exception, reason: str) -> Skipped:
    """Tell of a worker that did not come back, in the current span and to people."""
    spans.failed(trace.get_current_span(), error)
    return Skipped(path, reason)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C for what is started meanwhile: the pool's threads, and so the workers before they can ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def parse_file(path: Path, job: _Job) -> Parsed | Skipped:
    """Do in a worker what `Parser.parse` promises."""
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
        raise  # the parent says how much there was
    except Exception as exc:  # noqa: BLE001 (readers are other people's code on hostile input: any of it may fail)
        return Skipped(path, f"the reader failed on it ({type(exc).__name__})")


def _parse(path: Path, job: _Job, tokenizer: Tokenizer) -> Parsed:
    from ingestion.chunking.splitter import split
    from ingestion.readers import read

    data = _bytes_of(path, limit=job.max_file_bytes)
    extracted = read(path, data=data)
    chunks = split(extracted, tokenizer=tokenizer, max_tokens=job.max_tokens, overlap=job.overlap)
    return Parsed(
        path=path,
        title=extracted.title,
        text_length=len(extracted.text),
        metadata=extracted.metadata,
        chunks=chunks,
        content_hash=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )


def _bytes_of(path: Path, *, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes, once: what is hashed is what is parsed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))  # a pipe must not block us
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 (a descriptor, no path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            msg = "no regular file"
            raise Unreadable(msg)
        data = b"" if status.st_size > limit else _read(file.read, limit + 1)  # it may grow while we read
    if max(len(data), status.st_size) > limit:
        raise Unreadable(too_large(limit))
    return data


def _read(read: Callable[[int], bytes], length: int) -> bytes:
    blocks, left = [], length
    while left and (block := read(min(left, 64 * _BLOCK))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def _prepare_worker(memory: int) -> None:
    """Set a worker's limits; runs in it before its first file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core's work
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
