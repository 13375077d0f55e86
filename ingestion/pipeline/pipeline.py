"""Ingestion: documents in, one transaction a document out.

Reading runs in worker processes, embedding in a thread or on other machines, writing on the event loop. Queues between
them, bounded by weight, bound memory. Readers see a document's old version until its new one is committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from config.background import repeated_beside
from config.errors import FootnoteError
from config.settings import IngestionSettings
from config.telemetry import spans
from embedding.errors import EmbeddingFailed
from embedding.opening import slowed_of
from embedding.usage import Spent, counted_tokens
from ingestion.errors import QuotaExceeded, Unreadable
from ingestion.identity import MAX_IDS
from ingestion.incoming import Identified, Incoming
from ingestion.names import reason_of
from ingestion.pipeline.attachments import AttachmentsRead, ReadAttachment, attached_document, read_attachments
from ingestion.pipeline.keeping import KeepingEmbedder
from ingestion.pipeline.report import IngestReport
from ingestion.pipeline.tracing import DocumentTrace, RunTrace
from ingestion.pipeline.weighted_queue import WeightedQueue
from ingestion.pipeline.work import Part, Work, part_of, rows_of
from ingestion.retrying import RETRYING
from ingestion.types import INTENDED, Parsed, Skipped
from storage.documents.originals import Originals
from storage.documents.writes import Documents, NewAttachment, NewDocument
from storage.errors import DocumentAttached, OriginalNotFound, SourceTaken, StoreFailed, StoreTimeout, WriteConflict
from storage.generation import Generation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ingestion.pipeline.room import Growth, Room
    from storage.database import Connection, Database

MAX_CONFLICTS = 5
WRITERS = 2  # one computes while the other waits for the disk
TELL_SECONDS = 1.0
FEW_CHUNKS = 64
"""That a model which answers one call at a time gets at once, so that progress is seen between its calls."""
LOST = "it was deleted while it was read"


class Embeds(Protocol):
    """An embedding model: texts to an array of shape (texts, dimension), float32.

    `width` is the number of concurrent calls.
    """

    @property
    def width(self) -> int: ...  # noqa: D102 (see above)

    async def texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Embed passages."""
        ...


class Parses(Protocol):
    """A reader of files; `width` is the number of concurrent calls."""

    @property
    def width(self) -> int: ...  # noqa: D102 (see above)

    async def parse(self, path: Path, /) -> Parsed | Skipped:
        """Read and split a file."""
        ...


class Progress(Protocol):
    """A progress display."""

    def update(self, report: IngestReport, *, total: int | None) -> None:
        """Show the present state; `total` is None until it is known."""
        ...


class Pipeline:
    """Writes documents into one generation of a collection.

    Stored vectors are reused, also those of the active generation `beside` one that is being built. For `first` see
    `Documents.write`. Documents take `room`; None: there is room for all. `usd_per_token` is the price of a remote
    embedding model.

    Attributes:
        first_failure: why the first document of `report.failed` failed.

    """

    def __init__(
        self,
        database: Database,
        *,
        generation: Generation,
        parser: Parses,
        open_embedder: Callable[[], Awaitable[Embeds]],
        settings: IngestionSettings,
        beside: Generation | None = None,
        first: Callable[[Connection], Awaitable[None]] | None = None,
        room: Room | None = None,
        usd_per_token: float | None = None,
    ) -> None:
        self._first = first
        self._room = room
        self._spent = Spent()
        self._usd_per_token = usd_per_token
        self._documents = Documents(database, generation=generation)
        self._stores = [self._documents]  # that have vectors of the same model
        if beside and beside.embedding.fingerprint == generation.embedding.fingerprint:
            self._stores.append(Documents(database, generation=beside))
        self._originals = Originals(database)
        self._parser = parser
        self._open_embedder = open_embedder
        self._embedder: Embeds | None = None
        self._opening = asyncio.Lock()
        self._settings = settings
        self.generation = generation
        self.report = IngestReport(generation.collection, generation=generation.name)
        self.first_failure: FootnoteError | OSError | None = None
        self.trace = RunTrace(self.report)
        self._stop = asyncio.Event()
        self._progress: Progress | None = None
        self._total: Callable[[], int | None] = lambda: None

    def stop(self) -> None:
        """Finish the documents in progress, then end; for signal handlers."""
        self._stop.set()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    async def run(
        self,
        incoming: AsyncIterator[Incoming],
        *,
        progress: Progress | None = None,
        total: Callable[[], int | None] = lambda: None,
    ) -> IngestReport:
        """Ingest the documents and return a report; trace them under the current span.

        A document that cannot be read or embedded is reported, and the others go on.

        Raises:
            StoreUnavailable: the database stayed unavailable; another run continues from what is committed.
            GenerationRetired: another generation was activated; run again with that one.

        """
        self._progress, self._total = progress, total
        with self.trace.running(), counted_tokens(self._spent):
            return await self._run(incoming)

    async def _run(self, incoming: AsyncIterator[Incoming]) -> IngestReport:
        started = time.monotonic()
        window = self._settings.batch_chunks
        parsed: WeightedQueue[Work] = WeightedQueue(2 * window)
        embedded: WeightedQueue[Work] = WeightedQueue(2 * window)
        try:
            async with repeated_beside(self._tell, seconds=TELL_SECONDS), asyncio.TaskGroup() as group:
                group.create_task(self._read_all(incoming, parsed))
                group.create_task(self._embed_all(parsed, embedded))
                for _ in range(WRITERS):
                    group.create_task(self._write_all(embedded))
            if isinstance(self._embedder, KeepingEmbedder):
                await self._embedder.forget_written()
        except* FootnoteError as failures:
            raise _first_of(failures) from None
        finally:
            self.report.seconds += time.monotonic() - started
            self._count_cost()
            self.report.interrupted = self._stop.is_set()
        return self.report

    def _count_cost(self) -> None:
        self.report.embedded_tokens = self._spent.tokens
        if self._spent.tokens and self._usd_per_token is not None:
            self.report.embedding_usd = self._spent.tokens * self._usd_per_token

    async def _tell(self) -> None:
        if self._progress:
            model = self._embedder.model if isinstance(self._embedder, KeepingEmbedder) else self._embedder
            self.report.slowed = slowed_of(model)
            self._progress.update(self.report, total=self._total())

    async def _read_all(self, incoming: AsyncIterator[Incoming], out: WeightedQueue[Work]) -> None:
        turn = asyncio.Lock()  # an async iterator allows one caller at a time

        async def reader() -> None:
            while not self._stop.is_set():
                async with turn:
                    each = await anext(incoming, None)
                if each is None:
                    return
                work = await self._prepare(each, self.trace.begin(each.display_name))
                self.report.stages.read += 1
                if work is not None:
                    self.report.stages.to_embed += work.chunks - work.reused
                    await out.put(work, weight=work.weight)

        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, self._parser.width)):
                group.create_task(reader())
        self.report.stages.is_all_read = True
        await out.close()

    async def _prepare(self, incoming: Incoming, trace: DocumentTrace) -> Work | None:
        try:
            async with incoming.opened() as path:
                with trace.stage("parse"):
                    parsed = await self._parser.parse(path)
                    attached = await self._read_attachments(parsed)
        except OriginalNotFound:
            self._skip(incoming, trace, LOST)
            return None
        except OSError as exc:  # of a temporary file: the disk may be full
            self._fail(incoming, trace, exc, reason=reason_of(exc))
            return None
        if isinstance(parsed, Skipped):
            self._skip(incoming, trace, parsed.reason)
            return None
        self.report.bytes += parsed.size
        parsed = replace(parsed, warnings=(*parsed.warnings, *attached.warnings), attachments=())
        said = (*parsed.warnings, *attached.of_attachments)
        self.trace.count_read(parsed.size, warnings=said)
        losses = [warning.as_text() for warning in said if warning.kind not in INTENDED]
        if losses and self._settings.strict:
            self._fail(incoming, trace, Unreadable("; ".join(losses)))
            return None
        try:
            with spans.under(trace.span):
                return await self._work(incoming, parsed, attached, trace)
        except (SourceTaken, DocumentAttached, QuotaExceeded) as exc:
            self.report.over_quota += isinstance(exc, QuotaExceeded)
            self._fail(incoming, trace, exc)
            return None

    def _skip(self, incoming: Incoming, trace: DocumentTrace, reason: str) -> None:
        self.report.skip(incoming.display_name, reason)
        trace.end("skipped", reason=reason)

    async def _read_attachments(self, parsed: Parsed | Skipped) -> AttachmentsRead:
        if isinstance(parsed, Skipped) or not parsed.attachments:
            return AttachmentsRead()
        return await read_attachments(self._parser, parsed)

    async def _work(self, incoming: Incoming, parsed: Parsed, attached: AttachmentsRead, trace: DocumentTrace) -> Work:
        identified = await RETRYING(incoming.identify, parsed)
        parsed = identified.parsed or parsed
        parts = [part_of(identified.document, parsed), *await self._parts(identified.document, parsed, attached)]
        vectors = await self._stored_vectors(identified, parts)
        said = (*parsed.warnings, *attached.of_attachments)
        work = Work(incoming, identified, said, parts, vectors, trace, growth=await self._taken(identified, parts))
        trace.describe(identified.document, chunks=work.chunks)
        if vectors:
            trace.count_lookups(found=work.reused, missing=work.chunks - work.reused)
        return work

    async def _taken(self, identified: Identified, parts: Sequence[Part]) -> Growth | None:
        """Take the room that a document and its attachments need; one that is copied has it."""
        if self._room is None:
            return None
        ids = [identified.document.id, *([identified.displaces.id] if identified.displaces else [])]
        chunks = sum(len(part.chunks) for part in parts)
        return await RETRYING(self._room.take, ids, documents=len(parts), chunks=chunks)

    def _give_back(self, work: Work) -> None:
        if self._room is not None and work.growth is not None:
            self._room.give_back(work.growth)

    async def _parts(self, document: NewDocument, parsed: Parsed, attached: AttachmentsRead) -> list[Part]:
        """Return the attachments, whose bytes are kept from here on: they are not held while they wait in queues."""
        for each in attached.read:
            await RETRYING(self._originals.put_data, each.attachment.data, content_hash=each.parsed.content_hash)
        documents = await RETRYING(self._attached_documents, document, parsed, attached.read)
        return [part_of(row, each.parsed) for row, each in zip(documents, attached.read, strict=True)]

    async def _attached_documents(
        self, document: NewDocument, parsed: Parsed, read: Sequence[ReadAttachment]
    ) -> list[NewDocument]:
        """Return the rows of attachments, each with an id that no other document has."""
        rows = [attached_document(document, parsed, each) for each in read]
        for attempt in range(1, MAX_IDS):
            stored = await self._documents.by_ids([row.id for row in rows]) if rows else {}
            taken = {state.id for state in stored.values() if state.parent != document.id}
            if not taken:
                break
            rows = [
                attached_document(document, parsed, each, attempt=attempt) if row.id in taken else row
                for row, each in zip(rows, read, strict=True)
            ]
        return rows

    async def _stored_vectors(self, identified: Identified, parts: Sequence[Part]) -> dict[UUID, NDArray[np.float32]]:
        found: dict[UUID, NDArray[np.float32]] = {}
        for store in self._stores:
            if identified.replaces or store is not self._documents:
                found |= await RETRYING(store.vectors, *(part.document.id for part in parts))
        return found

    async def _embed_all(self, parsed: WeightedQueue[Work], out: WeightedQueue[Work]) -> None:
        # no need to wait for a full batch: the queue fills while the model works
        width = 2  # one call in progress and one waiting
        async with asyncio.TaskGroup() as group:
            calls: set[asyncio.Task[None]] = set()
            while (batch := await parsed.take(self._settings.batch_chunks)) and not self._stop.is_set():
                calls.add(group.create_task(self._embed_batch(batch, out)))
                if self._embedder is not None:
                    width = self._embedder.width + 1
                if len(calls) >= width:
                    _, calls = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        while self._stop.is_set() and await parsed.take(self._settings.batch_chunks):
            pass  # drain the queue, so that readers waiting for room can end
        await out.close()

    async def _embed_batch(self, batch: list[Work], out: WeightedQueue[Work]) -> None:
        try:
            await self._fill(batch)
        except EmbeddingFailed:
            for work in batch:  # one by one, to find the document that fails
                try:
                    await self._fill([work])
                except EmbeddingFailed as exc:
                    self._give_back(work)
                    self._fail(work.incoming, work.trace, exc)
                else:
                    await out.put(work, weight=work.weight)
            return
        for work in batch:
            await out.put(work, weight=work.weight)

    async def _fill(self, batch: Sequence[Work]) -> None:
        missing = {key: text for work in batch for key, text in work.missing.items()}
        if not missing:
            return
        async with self._opening:
            if self._embedder is None:
                self.report.stages.is_opening_model = True
                with spans.span("footnote.ingest.load_model"):
                    self._embedder = await self._open_embedder()
                self.report.stages.is_opening_model = False
        with self.trace.embedding({work.trace: len(work.missing) for work in batch if work.missing}):
            await self._embed_texts(self._embedder, missing, batch)

    async def _embed_texts(self, embedder: Embeds, missing: Mapping[UUID, str], batch: Sequence[Work]) -> None:
        keys = list(missing)
        most = 2 * self._settings.batch_chunks  # a huge document takes several calls
        most = min(most, FEW_CHUNKS) if embedder.width == 1 else most
        for begin in range(0, len(keys), most):
            part = keys[begin : begin + most]
            started = time.monotonic()
            vectors = await embedder.texts([missing[key] for key in part])
            self.report.embedding_seconds += time.monotonic() - started
            self.report.stages.embedded += len(part)
            made = dict(zip(part, vectors, strict=True))
            for work in batch:
                work.vectors.update({key: made[key] for key in work.hashes if key in made})

    async def _write_all(self, embedded: WeightedQueue[Work]) -> None:
        while batch := await embedded.take():
            for work in batch:
                await self._write(work)

    async def _write(self, work: Work | None) -> None:
        for _ in range(MAX_CONFLICTS):
            if work is None:
                return
            try:
                with work.trace.stage("write"):
                    outcome = await self._write_once(work)
            except WriteConflict as exc:
                self._give_back(work)
                last, conflict = work, exc
                await RETRYING(work.incoming.refresh)
                work = await self._prepared_again(work)
            except OSError as exc:  # of the file, whose bytes are to be kept
                self._give_back(work)
                self._skip(work.incoming, work.trace, reason_of(exc))
                return
            except (StoreFailed, StoreTimeout, SourceTaken, DocumentAttached) as exc:
                self._give_back(work)
                self._fail(work.incoming, work.trace, exc)
                return
            else:
                self._count(work, outcome)
                if isinstance(self._embedder, KeepingEmbedder):
                    await self._embedder.written(work.hashes)
                return
        if work is not None:
            self._give_back(work)
        self._fail(last.incoming, last.trace, conflict, reason=f"{conflict}, {MAX_CONFLICTS} times in a row")

    async def _prepared_again(self, work: Work) -> Work | None:
        again = await self._prepare(work.incoming, work.trace)
        if again is not None:
            try:
                await self._fill([again])
            except EmbeddingFailed as exc:
                self._give_back(again)
                self._fail(again.incoming, again.trace, exc)
                return None
        return again

    async def _write_once(self, work: Work) -> str:
        identified, (own, *attached) = work.identified, work.parts
        if identified.document.original:
            await RETRYING(work.incoming.keep, identified.document.original)
        return await RETRYING(
            self._documents.write,
            identified.document,
            rows_of(own, work.vectors),
            replaces=identified.replaces,
            displaces=identified.displaces,
            first=self._first,
            is_carried=work.incoming.is_carried,
            attachments=[NewAttachment(part.document, rows_of(part, work.vectors)) for part in attached],
        )

    def _count(self, work: Work, outcome: str) -> None:
        if self._room is not None and work.growth is not None:
            (self._room.give_back if outcome in {"deleted", "unchanged"} else self._room.wrote)(work.growth)
        if outcome == "deleted":
            self.report.skip(work.incoming.display_name, LOST, expected=True)
            work.trace.end("skipped", reason=LOST)
            return
        if outcome == "unchanged":
            self.report.unchanged += 1
            work.trace.end("unchanged")
            return
        if work.incoming.is_carried:
            self.report.carried += 1
            work.trace.end("carried")
        else:
            change = work.identified.change
            replaced = work.identified.replaces
            self.report.count(change, work.identified.document.source, before=replaced.source if replaced else None)
            work.trace.end(change)
        self.report.warn(work.incoming.display_name, work.warnings)
        self.report.attachments += len(work.parts) - 1
        self.report.chunks += work.chunks
        self.report.reused += work.reused
        self.trace.count_written(embedded=work.chunks - work.reused, reused=work.reused)

    def _fail(
        self, incoming: Incoming, trace: DocumentTrace, error: FootnoteError | OSError, *, reason: str | None = None
    ) -> None:
        self.first_failure = self.first_failure or error
        self.report.fail(incoming.display_name, reason or str(error))
        trace.end("failed", error=error)


def _first_of(failures: BaseExceptionGroup[FootnoteError]) -> FootnoteError:
    first = failures.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
