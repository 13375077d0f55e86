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
from uuid import UUID, uuid4

import stamina

from config.errors import FootnoteError
from config.settings import IngestionSettings
from ingestion.errors import EmbeddingFailed
from ingestion.identity import OWN_KEYS, absolute, document_id, embedded_hash, node_id, pipeline_fingerprint, source_of
from ingestion.parsing import hash_file
from ingestion.report import IngestReport
from ingestion.sources import source_name
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
    reused: int = 0

    def __post_init__(self) -> None:
        self.reused = len(self.texts) - len(self.missing)

    @property
    def missing(self) -> dict[UUID, str]:
        """The texts whose vectors are not known yet."""
        return {key: text for key, text in zip(self.hashes, self.texts, strict=True) if key not in self.vectors}


def _free(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out what a document says under keys that are Footnote's own: a citation's page is the page."""
    return {key: value for key, value in metadata.items() if key not in OWN_KEYS}


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
        self._generation = generation
        self._parser = parser
        self._open_embedder = open_embedder
        self._embedder: Embeds | None = None
        self._settings = settings
        self._base = absolute(base) if base else None
        self._metadata = dict(metadata or {})
        self._fingerprint = pipeline_fingerprint(generation, metadata=self._metadata)
        self.report = IngestReport(generation.collection, generation=generation.name)
        self._stop = asyncio.Event()
        self._sources: set[str] = set()  # of this run: none of these was moved away

    def stop(self) -> None:
        """Finish the documents in hand and end; for signal handlers."""
        self._stop.set()

    async def run(self, files: Iterable[Path | Skipped], *, progress: Progress | None = None) -> IngestReport:
        """Ingest the files; return what came of them.

        A file that cannot be read or embedded is in the report, and the rest goes on.

        Raises:
            StoreUnavailable: the database stayed away; what is committed stays, and another run goes on from there.

        """
        started = time.monotonic()
        parsed: asyncio.Queue[_Work | None] = asyncio.Queue(maxsize=16)
        embedded: asyncio.Queue[_Work | None] = asyncio.Queue(maxsize=64)
        listing = list(files)
        named = (source_of(absolute(entry), base=self._base) for entry in listing if not isinstance(entry, Skipped))
        self._sources = {source for source in named if source}
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
            work = await self._prepare(path)
            if work is not None:
                await out.put(work)
        await out.put(None)

    async def _changed_files(self, listing: Sequence[Path | Skipped]) -> AsyncIterator[Path]:
        for begin in range(0, len(listing), LOOK_AHEAD):
            for path in await self._changed(listing[begin : begin + LOOK_AHEAD]):
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
        states = await _STORE_RETRIES(self._documents.states, list(paths))
        changed = await asyncio.to_thread(self._compare, paths, states)
        self.report.unchanged += len(paths) - len(changed)
        return changed

    def _compare(self, paths: Mapping[str, Path], states: Mapping[str, DocumentState]) -> list[Path]:
        return [path for source, path in paths.items() if not self._is_stored(path, states.get(source))]

    def _is_stored(self, path: Path, state: DocumentState | None) -> bool:
        if state is None or state.pipeline_fingerprint != self._fingerprint:
            return False
        try:
            return path.stat().st_size <= self._settings.max_file_bytes and hash_file(path) == state.content_hash
        except OSError:
            return False  # the reader will say why

    async def _prepare(self, path: Path) -> _Work | None:
        parsed = await self._parser.parse(path)
        if isinstance(parsed, Skipped):
            self._skip(parsed)
            return None
        document, replaces = await self._identify(path, parsed)
        from ingestion.chunking import embed_text

        texts = [embed_text(parsed.title, chunk) for chunk in parsed.chunks]
        vectors = await _STORE_RETRIES(self._documents.vectors, replaces.id) if replaces else {}
        return _Work(path, document, replaces, parsed, texts, [embedded_hash(text) for text in texts], vectors)

    async def _identify(self, path: Path, parsed: Parsed) -> tuple[NewDocument, DocumentState | None]:
        source = source_of(path, base=self._base) or str(path)
        stored = await _STORE_RETRIES(self._documents.states, [source])
        replaces = stored.get(source) or await self._moved_from(parsed.content_hash)
        return (
            NewDocument(
                id=replaces.id if replaces else await self._free_id(source),
                source=source,
                location=str(path),
                title=parsed.title,
                metadata={**_free(parsed.metadata), **self._metadata, "file_name": source_name(Path(path.name))},
                content_hash=parsed.content_hash,
                pipeline_fingerprint=self._fingerprint,
                size=parsed.size,
            ),
            replaces,
        )

    async def _moved_from(self, content_hash: str) -> DocumentState | None:
        """Find the document that these bytes were before their file was moved: same bytes, and its own file is gone."""
        for state in await _STORE_RETRIES(self._documents.same_content, content_hash):
            if state.source not in self._sources and await asyncio.to_thread(self._is_gone, state):
                return state
        return None

    def _is_gone(self, state: DocumentState) -> bool:
        """Tell whether a document's file is nowhere: not where it was read, and not under its name in this base."""
        if state.location is None:
            return False
        places = [Path(state.location), *([self._base / state.source] if self._base else [])]
        try:
            return not any(place.exists() for place in places)
        except OSError:
            return False  # a folder that we may not look into

    async def _free_id(self, source: str) -> str:
        """Return the source's own id, or the next one where a document that was moved away has kept it."""
        candidates = [document_id(source, generation=self._generation, attempt=attempt) for attempt in range(100)]
        taken = await _STORE_RETRIES(self._documents.by_ids, candidates)
        return next((candidate for candidate in candidates if candidate not in taken), str(uuid4()))

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
                    self.report.failed.append(Skipped(work.path, str(exc)))
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
            self._embedder = await self._open_embedder()
        keys = list(missing)
        for begin in range(0, len(keys), 4 * self._settings.batch_chunks):  # one huge document is many calls
            part = keys[begin : begin + 4 * self._settings.batch_chunks]
            started = time.monotonic()
            vectors = await self._embedder.texts([missing[key] for key in part])
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
                chunks = self._chunks(work)
                outcome = await _STORE_RETRIES(self._documents.write, work.document, chunks, replaces=work.replaces)
            except WriteConflict as exc:
                path, reason = work.path, str(exc)
                work = await self._prepare(path)  # as it is now
                if work is not None:
                    await self._fill([work])
            except (StoreFailed, StoreTimeout) as exc:
                self.report.failed.append(Skipped(work.path, str(exc)))
                return
            else:
                self._count(work, outcome)
                return
        self.report.failed.append(Skipped(path, f"{reason}, {MAX_CONFLICTS} times in a row"))

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
            return
        if work.replaces is None:
            self.report.added += 1
        elif work.replaces.source != work.document.source:
            self.report.moved += 1
        else:
            self.report.changed += 1
        self.report.chunks += len(work.texts)
        self.report.reused += work.reused

    def _skip(self, entry: Skipped) -> None:
        (self.report.ignored if entry.expected else self.report.skipped).append(entry)
