"""Collections are created and deleted here, generations listed and activated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from ingestion.chunking.choice import choose_chunking
from server.errors import Forbidden
from server.principal import ADMIN
from storage.caller import EVERYBODY, Caller, caller, in_whole_tenant
from storage.collections.collections import CollectionInfo, Collections
from storage.collections.dropping import drop_marked
from storage.collections.generations import Flip, GenerationInfo, Generations
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page
from storage.documents.catalog import DocumentCatalog
from storage.documents.readers import DocumentReaders
from storage.errors import CollectionNotFound, GenerationNotReady
from storage.jobs.jobs import JobStore, NewJob
from storage.jobs.payloads import CatchUp
from storage.reach import require_reachable

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from embedding.cache import Described, Embedders
    from server.services.pinned_generations import PinnedGenerations
    from storage.database import Database
    from storage.generation import Chunking, Generation

DROP_SECONDS = (0.5, 30.0)
"""Between two attempts to drop what is marked and in use: at first, and in the end."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewCollection:
    """A collection to create; None stands for the settings' values. `readers` may read what brings none.

    `embedding` is the name that the settings give its model.
    """

    name: str
    language: str | None = None
    chunk_tokens: int | None = None
    chunk_overlap: int | None = None
    readers: tuple[str, ...] = (EVERYBODY,)
    embedding: str | None = None


@dataclass(frozen=True, slots=True)
class Activated:
    """The result of an activation.

    Attributes:
        generation: the active one now.
        before: the one that was active before.
        job_id: of the job that carries over documents changed in `before` since; None where there was none before.

    """

    collection: str
    generation: str
    before: str
    job_id: UUID | None


class CollectionService:
    """Creates, deletes and activates. Every method raises `FootnoteError`s only, apart from defects."""

    def __init__(
        self, database: Database, *, embedders: Embedders, pinned: PinnedGenerations, settings: IngestionSettings
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._pinned = pinned
        self._settings = settings
        self._collections = Collections(database)
        self._generations = Generations(database)
        self._jobs = JobStore(database)
        self._readers = DocumentReaders(database)
        self._documents = DocumentCatalog(database)
        self._marked = asyncio.Event()

    async def active(self, name: str, /) -> Generation:
        """Return a collection's active generation."""
        return await self._collections.active(name)

    async def create(self, new: NewCollection, /) -> CollectionInfo:
        """Create a collection for the embedding model that it names.

        Raises:
            InvalidCollection: the name, the language, the chunking or the model cannot be used.
            CollectionExists: the name is taken.
            EmbeddingUnavailable: the model's provider cannot be asked.

        """
        model = await self._embedders.described(new.embedding)
        await self._collections.create(new.name, embedding=model.identity, chunking=self._chunking(new, model))
        if new.readers != (EVERYBODY,):
            await self._readers.put_default(new.name, new.readers)
        return await self._collections.info(new.name)

    async def ensure(self, name: str, /) -> Generation:
        """Return a collection's active generation; create the collection by the settings if it does not exist.

        Raises:
            EmbeddingMismatch: the settings do not name the model that it was built with.
            EmbeddingUnavailable: it does not exist, and the default model's provider cannot be asked.

        """
        try:
            active = await self._collections.active(name)
        except CollectionNotFound:
            model = await self._embedders.described()
            active = await self._collections.ensure(
                name,
                embedding=model.identity,
                chunking=self._chunking(NewCollection(name), model),
                accepted={model.identity.fingerprint},
            )
        await self._embedders.require_writable(active)
        return active

    async def delete(self, name: str, /) -> None:
        """Delete a collection with its generations and documents, and cancel its jobs.

        It waits for nobody who reads or writes documents. Tables and rows go later, in `dropping`.

        Raises:
            CollectionNotFound: there is no such collection.
            Forbidden: documents are in it that the caller may not read.

        """
        await self._delete(name, caller())
        self._marked.set()
        await self._follow()

    @asynccontextmanager
    async def dropping(self) -> AsyncIterator[None]:
        """Drop, until the block ends, what was marked as dropped, here or by a process that ended before it could."""
        async with running_beside(self._drop()):
            yield

    async def generations(self, name: str, /, *, limit: int, cursor: str | None) -> Page[GenerationInfo]:
        """List a collection's generations, the newest first."""
        require_reachable(name)
        return await self._generations.list(name, limit=limit, cursor=cursor)

    async def activate(self, name: str, /, *, generation: str) -> Activated:
        """Make a generation the active one, and submit the job that carries over documents changed since it was built.

        Raises:
            CollectionNotFound: there is no such collection.
            GenerationNotFound: it has no such generation.
            GenerationNotReady: it is not completely built.

        """
        require_reachable(name)
        flip = await self._generations.activate(name, generation)
        await self._follow()
        return Activated(name, flip.after, flip.before, await self._catch_up(name, flip))

    @rerun_on_conflict
    @in_whole_tenant  # with everybody's jobs
    async def _delete(self, name: str, who: Caller | None) -> None:
        async with self._database.transaction() as connection:
            if await self._documents.hides_any(connection, who, collection=name) or await self._jobs.hides_any(
                connection, who, collection=name
            ):
                reason = "it has documents that you may not read; an administrator may delete it"
                raise Forbidden(ADMIN, reason)
            await self._jobs.cancel_of_collection(connection, name)
            await self._collections.delete(connection, name)

    async def _drop(self) -> None:
        pause = DROP_SECONDS[0]
        while True:
            self._marked.clear()
            try:
                left = await drop_marked(self._database)
            except FootnoteError as exc:
                _log.info("what is marked was not dropped; another attempt follows", error=type(exc).__name__)
                left = 1
            pause = min(2 * pause, DROP_SECONDS[1]) if left else DROP_SECONDS[1]
            with suppress(TimeoutError):
                await asyncio.wait_for(self._marked.wait(), pause)
                pause = DROP_SECONDS[0]

    @rerun_on_conflict
    async def _catch_up(self, name: str, flip: Flip) -> UUID | None:
        before = flip.before
        if before == flip.after:  # a repeated request: the first may have failed before it submitted the job
            try:
                before = await self._generations.previous(name)
            except GenerationNotReady:
                return None
        new = NewJob(CatchUp(generation=before), collection=name, lock="catch-up")
        async with self._database.transaction() as connection:
            return (await self._jobs.submit(connection, new)).id

    async def _follow(self) -> None:
        """Refresh the pinned generations at once; if that fails, the next poll does it."""
        try:
            await self._pinned.refresh()
        except FootnoteError as exc:
            _log.warning("pinned generations were not refreshed; the next poll will do it", error=type(exc).__name__)

    def _chunking(self, new: NewCollection, model: Described) -> Chunking:
        return choose_chunking(
            self._settings,
            max_tokens=model.max_tokens,
            tokens=new.chunk_tokens,
            overlap=new.chunk_overlap,
            language=new.language,
        )
