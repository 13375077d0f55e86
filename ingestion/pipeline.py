"""Ingestion: files in, one transaction a document out.

Reading runs in a process of its own, embedding on a thread, writing on the event loop; short queues between them keep
memory bounded. A document is visible whole in its old version until its new one is committed whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import stamina

from config import spans
from config.errors import FootnoteError
from config.settings import IngestionSettings
from ingestion.errors import EmbeddingFailed
from ingestion.identity import absolute, embedded_hash, node_id, source_of
from ingestion.matching import Matching
from ingestion.report import IngestReport
from ingestion.tracing import DocumentTrace, RunTrace
from ingestion.types import Json, Parsed, Skipped
from storage.collections import Generation
from storage.documents import Documents, DocumentState, NewChunk, NewDocument
from storage.errors import StoreFailed, StoreTimeout, StoreUnavailable, WriteConflict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.database import Database

LOOK_AHEAD = 256  # files that are hashed and compared in one query
MAX_CONFLICTS = 3
_STORE_RETRIES = stamina.AsyncRetryingCaller(attempts=6, timeout=60, wait_initial=0.2, wait_max=10).on(StoreUnavailable)


class Embeds(Protocol):
    """An embedding model: texts to an array of shape (texts, dimension), float32."""

    async def texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Embed passages."""
        ...


class Parses(Protocol):
    """A reader of files."""

    async def parse(self, path: Path, /) -> Parsed | Skipped:
        """Read and split a file."""
        ...


class Progress(Protocol):
    """Somebody who watches."""

    def update(self, report: IngestReport, *, total: int) -> None:
        """Take note of where it stands."""
        ...


@dataclass(slots=True)
class _Work:
    """A document on its way through the pipeline."""

    path: Path
    document: NewDocument
    replaces: DocumentState | None
    parsed: Parsed
    texts: list[str]
    hashes: list[UUID]
    vectors: dict[UUID, NDArray[np.float32]]
    trace: DocumentTrace
    reused: int = 0

    def __post_init__(self) -> None:
        self.reused = len(self.texts) - len(self.missing)

    @property
    def missing(self) -> dict[UUID, str]:
        """The texts whose vectors are not known yet."""
        return {key: text for key, text in zip(self.hashes, self.texts, strict=True) if key not in self.vectors}


class Pipeline:
    """Writes files into one generation of a collection."""

    def __init__(
        self,
        database: Database,
        *,
        generation: Generation,
        parser: Parses,
        open_embedder: Callable[[], Awaitable[Embeds]],
        settings: IngestionSettings,
        base: Path | None = None,
        metadata: Mapping[str, Json] | None = None,
    ) -> None:
        self._documents = Documents(database, generation=generation)
        self._parser = parser
        self._open_embedder = open_embedder
        self._embedder: Embeds | None = None
        self._settings = settings
        self._base = absolute(base) if base else None
        self._matching = Matching(
            self._documents,
            generation=generation,
            retrying=_STORE_RETRIES,
            base=self._base,
            metadata=dict(metadata or {}),
            max_file_bytes=settings.max_file_bytes,
        )
        self.report = IngestReport(generation.collection, generation=generation.name)
        self._trace = RunTrace(self.report)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Finish the documents in hand and end; for signal handlers."""
        self._stop.set()

    async def run(self, files: Iterable[Path | Skipped], *, progress: Progress | None = None) -> IngestReport:
        """Ingest the files; return what came of them, and tell of it in the current span and under it.

        A file that cannot be read or embedded is in the report, and the rest goes on.

        Raises:
            StoreUnavailable: the database stayed away; what is committed stays, and another run goes on from there.

        """
        with self._trace.running():
            return await self._run(list(files), progress)

    async def _run(self, listing: Sequence[Path | Skipped], progress: Progress | None) -> IngestReport:
        started = time.monotonic()
        parsed: asyncio.Queue[_Work | None] = asyncio.Queue(maxsize=16)
        embedded: asyncio.Queue[_Work | None] = asyncio.Queue(maxsize=64)
        named = (source_of(absolute(entry), base=self._base) for entry in listing if not isinstance(entry, Skipped))
        self._matching.sources = frozenset(source for source in named if source)
        if progress:
            progress.update(self.report, total=len(listing))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(listing, parsed))
                group.create_task(self._embed(parsed, embedded))
                group.create_task(self._write(embedded, progress, total=len(listing)))
        except* FootnoteError as failures:
            raise failures.exceptions[0] from None
        finally:
            self.report.seconds = time.monotonic() - started
            self.report.interrupted = self._stop.is_set()
        if progress:
            progress.update(self.report, total=len(listing))
        return self.report

    async def _read(self, listing: Sequence[Path | Skipped], out: asyncio.Queue[_Work | None]) -> None:
        async for path in self._changed_files(listing):
            if self._stop.is_set():
                break
            work = await self._prepare(path, self._trace.begin(str(path)))
            if work is not None:
                await out.put(work)
        await out.put(None)

    async def _changed_files(self, listing: Sequence[Path | Skipped]) -> AsyncIterator[Path]:
        for begin in range(0, len(listing), LOOK_AHEAD):
            entries = listing[begin : begin + LOOK_AHEAD]
            with self._trace.comparing(files=len(entries)) as span:
                changed = await self._changed(entries)
                span.set_attribute("footnote.documents.changed", len(changed))
            for path in changed:
                yield path

    async def _changed(self, entries: Sequence[Path | Skipped]) -> list[Path]:
        """Leave out what cannot be read and what is stored already, by hash."""
        paths: dict[str, Path] = {}
        for entry in entries:
            if isinstance(entry, Skipped):
                self._skip(entry)
                continue
            path = absolute(entry)
            if (source := source_of(path, base=self._base)) is None:
                self._skip(Skipped(entry, "its path is longer than 2,000 bytes or not Unicode: rename it"))
            else:
                paths[source] = path
        changed = await self._matching.changed(paths)
        self.report.unchanged += len(paths) - len(changed)
        self._trace.count("unchanged", number=len(paths) - len(changed))
        return changed

    async def _prepare(self, path: Path, trace: DocumentTrace) -> _Work | None:
        with trace.stage("parse"):
            parsed = await self._parser.parse(path)
        if isinstance(parsed, Skipped):
            self.report.skipped.append(parsed)
            trace.end("skipped", reason=parsed.reason)
            return None
        self.report.bytes += parsed.size
        self._trace.count_read(parsed.size)
        with spans.under(trace.span):
            return await self._work(path, parsed, trace)

    async def _work(self, path: Path, parsed: Parsed, trace: DocumentTrace) -> _Work:
        document, replaces = await self._matching.identify(path, parsed)
        from ingestion.chunking import embed_text

        texts = [embed_text(parsed.title, chunk) for chunk in parsed.chunks]
        vectors = await _STORE_RETRIES(self._documents.vectors, replaces.id) if replaces else {}
        hashes = [embedded_hash(text) for text in texts]
        work = _Work(path, document, replaces, parsed, texts, hashes, vectors, trace)
        trace.describe(document, chunks=len(texts))
        if replaces:
            trace.count_lookups(found=work.reused, missing=len(texts) - work.reused)
        return work

    async def _embed(self, queue: asyncio.Queue[_Work | None], out: asyncio.Queue[_Work | None]) -> None:
        batch: list[_Work] = []
        while (work := await queue.get()) is not None:
            if self._stop.is_set():
                continue
            batch.append(work)
            # the model never waits for more to come: while it works, the queue fills by itself
            if queue.empty() or sum(len(item.missing) for item in batch) >= self._settings.batch_chunks:
                await self._embed_batch(batch, out)
                batch = []
        if not self._stop.is_set():
            await self._embed_batch(batch, out)
        await out.put(None)

    async def _embed_batch(self, batch: list[_Work], out: asyncio.Queue[_Work | None]) -> None:
        try:
            await self._fill(batch)
        except EmbeddingFailed:
            for work in batch:  # one by one, to find the document that the model cannot take
                try:
                    await self._fill([work])
                except EmbeddingFailed as exc:
                    self._fail(work, exc)
                else:
                    await out.put(work)
            return
        for work in batch:
            await out.put(work)

    async def _fill(self, batch: Sequence[_Work]) -> None:
        missing = {key: text for work in batch for key, text in work.missing.items()}
        if not missing:
            return
        if self._embedder is None:
            with spans.span("footnote.ingest.load_model"):
                self._embedder = await self._open_embedder()
        with self._trace.embedding({work.trace: len(work.missing) for work in batch if work.missing}):
            await self._embed_texts(self._embedder, missing, batch)

    async def _embed_texts(self, embedder: Embeds, missing: Mapping[UUID, str], batch: Sequence[_Work]) -> None:
        keys = list(missing)
        for begin in range(0, len(keys), 4 * self._settings.batch_chunks):  # one huge document is many calls
            part = keys[begin : begin + 4 * self._settings.batch_chunks]
            started = time.monotonic()
            vectors = await embedder.texts([missing[key] for key in part])
            self.report.embedding_seconds += time.monotonic() - started
            made = dict(zip(part, vectors, strict=True))
            for work in batch:
                work.vectors.update({key: made[key] for key in work.hashes if key in made})

    async def _write(self, queue: asyncio.Queue[_Work | None], progress: Progress | None, *, total: int) -> None:
        while (work := await queue.get()) is not None:
            await self._write_document(work)
            if progress:
                progress.update(self.report, total=total)

    async def _write_document(self, work: _Work | None) -> None:
        for _ in range(MAX_CONFLICTS):
            if work is None:
                return
            try:
                with work.trace.stage("write"):
                    chunks = self._chunks(work)
                    outcome = await _STORE_RETRIES(self._documents.write, work.document, chunks, replaces=work.replaces)
            except WriteConflict as exc:
                last, conflict = work, exc
                work = await self._prepare(work.path, work.trace)  # as it is now
                if work is not None:
                    await self._fill([work])
            except (StoreFailed, StoreTimeout) as exc:
                self._fail(work, exc)
                return
            else:
                self._count(work, outcome)
                return
        self._fail(last, conflict, reason=f"{conflict}, {MAX_CONFLICTS} times in a row")

    def _chunks(self, work: _Work) -> list[NewChunk]:
        from storage.chunks import make_node, node_json

        chunks = []
        shared = {**work.document.metadata, "title": work.document.title, "source": work.document.source}
        for chunk, key in zip(work.parsed.chunks, work.hashes, strict=True):
            place = {"heading": chunk.heading, "page": chunk.page, "chunk_index": chunk.index}
            node = make_node(
                node_id(work.document.id, index=chunk.index, text=chunk.text),
                document_id=work.document.id,
                text=chunk.text,
                metadata={**shared, **{name: value for name, value in place.items() if value is not None}},
                start=chunk.start,
                end=chunk.end,
            )
            chunks.append(
                NewChunk(
                    node_id=node.node_id,
                    index=chunk.index,
                    page=chunk.page,
                    start=chunk.start,
                    end=chunk.end,
                    text=chunk.text,
                    metadata_json=node_json(node),
                    embedding=work.vectors[key],
                    embedded_hash=key,
                )
            )
        return chunks

    def _count(self, work: _Work, outcome: str) -> None:
        if outcome == "unchanged":
            self.report.unchanged += 1
            work.trace.end("unchanged")
            return
        if work.replaces is None:
            self.report.added += 1
            work.trace.end("added")
        elif work.replaces.source != work.document.source:
            self.report.moved += 1
            work.trace.end("moved")
        else:
            self.report.changed += 1
            work.trace.end("changed")
        self.report.chunks += len(work.texts)
        self.report.reused += work.reused
        self._trace.count_written(embedded=len(work.texts) - work.reused, reused=work.reused)

    def _fail(self, work: _Work, error: FootnoteError, *, reason: str | None = None) -> None:
        self.report.failed.append(Skipped(work.path, reason or str(error)))
        work.trace.end("failed", error=error)

    def _skip(self, entry: Skipped) -> None:
        (self.report.ignored if entry.expected else self.report.skipped).append(entry)
        self._trace.count("ignored" if entry.expected else "skipped")
