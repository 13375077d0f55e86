"""Builds pipelines; opens readers and models when they are first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedding.cache import Embedders
from ingestion.chunking.choice import choose_chunking
from ingestion.pipeline.keeping import KeepingEmbedder
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.room import room_of
from ingestion.readers.process_pool import Parser
from storage import schema_version
from storage.chunk_tables import IndexOptions
from storage.collections.collections import Collections
from storage.collections.generations import Generations
from storage.database import Database
from storage.documents.kept_vectors import KeptVectors
from storage.errors import CollectionNotFound
from storage.generation import Chunking, EmbeddingIdentity
from storage.search.search import default_scan
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from config.settings import IngestionSettings, Settings
    from embedding.embedder import Embedder, EmbeddingModel
    from ingestion.pipeline.pipeline import Embeds, Parses
    from ingestion.ray.connection import RayCluster
    from storage.database import Connection
    from storage.generation import Generation


MILLION = 1_000_000


class Indexing:
    """Builds pipelines that share readers and models, which may run on a Ray cluster."""

    def __init__(
        self, database: Database, *, settings: Settings, stack: AsyncExitStack, cluster: RayCluster | None = None
    ) -> None:
        self._cluster = cluster
        self.database = database
        self.settings = settings
        self.collections = Collections(database)
        self.generations = Generations(database, index=_index_options(settings.ingestion))
        self.embedders = Embedders(settings)
        self.embedding: str | None = None  # the name of the model that was asked for
        self._stack = stack
        self._parsers: dict[tuple[Path, Chunking], Parses] = {}
        stack.callback(self.embedders.close)

    async def configured(self) -> tuple[EmbeddingIdentity, Chunking]:
        """Return the model and chunking that the settings give a new generation.

        Raises:
            EmbeddingModelNotFound: there is no such model.
            EmbeddingUnavailable: its provider cannot be asked.

        """
        model = await self.embedders.described(self.embedding)
        return model.identity, choose_chunking(self.settings.ingestion, max_tokens=model.max_tokens)

    async def configured_for(self, active: Generation) -> tuple[EmbeddingIdentity, Chunking]:
        """Return the model and chunking of a generation that is to replace one; see `configured`.

        Where no model was asked for, one that was chosen for the collection by its name stays.

        Raises:
            EmbeddingModelNotFound: there is no such model.

        """
        name = self.embedding or await self.embedders.name_of(active.embedding)
        model = await self.embedders.described(name, like=active.embedding)
        return model.identity, choose_chunking(self.settings.ingestion, max_tokens=model.max_tokens)

    async def ensure(self, collection: str) -> Generation:
        """Return a collection's active generation; create the collection from the settings if there is none.

        Raises:
            InvalidCollection: the name, or the language, cannot be used.
            EmbeddingMismatch: the settings name another model than the one it was built with.

        """
        try:
            active = await self.collections.active(collection)
        except CollectionNotFound:
            embedding, chunking = await self.configured()
            active = await self.collections.ensure(
                collection, embedding=embedding, chunking=chunking, accepted={embedding.fingerprint}
            )
        await self.embedders.require_writable(active, name=self.embedding)
        return active

    async def pipeline(
        self,
        generation: Generation,
        *,
        beside: Generation | None = None,
        first: Callable[[Connection], Awaitable[None]] | None = None,
        bounded: bool = False,
    ) -> Pipeline:
        """Return a pipeline into a generation; the model is loaded when a document needs it.

        One that is `bounded` adds no document beyond the tenant's quotas; of uploads they were asked for before.

        Raises:
            EmbeddingMismatch: the model that it was built with is not available.

        """
        files = await self.embedders.files_of(generation.embedding)

        async def open_embedder() -> Embeds:
            if self.embedders.is_remote(generation.embedding):
                return await self._keeping(await self.embedders.of(generation.embedding))
            if self._cluster is None:
                return await self.embedders.of(generation.embedding)
            used, found = await self.embedders.found(generation.embedding)
            return await self._cluster.embedder(used, files=found)

        room = None
        if bounded:
            room = await room_of(
                self.database, limits=self.settings.limits, answering=beside or generation, builds=beside is not None
            )
        return Pipeline(
            self.database,
            generation=generation,
            parser=await self._parser(files, generation.chunking),
            open_embedder=open_embedder,
            settings=self.settings.ingestion,
            beside=beside,
            first=first,
            room=room,
            usd_per_token=self._price(generation),
        )

    async def _keeping(self, model: Embedder) -> Embeds:
        """Let the vectors of a remote model be kept until they are written, unless the settings give no room."""
        from embedding.remote.embedder import GenerationEmbedder

        most = self.settings.ingestion.kept_vectors_bytes
        if not most or not isinstance(model, GenerationEmbedder):
            return model
        kept = KeptVectors(self.database, fingerprint=model.identity.fingerprint)
        return await KeepingEmbedder.opened(model, kept=kept, most=most)

    def _price(self, generation: Generation) -> float | None:
        price = self.settings.llm.prices.get(generation.embedding.model)
        return None if price is None else price.input / MILLION

    async def _parser(self, files: EmbeddingModel, chunking: Chunking) -> Parses:
        key = (files.tokenizer_file, chunking)
        if key not in self._parsers and self._cluster is not None:
            self._parsers[key] = await self._cluster.parser(
                tokenizer_file=files.tokenizer_file,
                max_tokens=chunking.tokens,
                overlap=chunking.overlap,
                language=chunking.language,
            )
        if key not in self._parsers:
            self._parsers[key] = await self._stack.enter_async_context(
                Parser(
                    tokenizer_file=files.tokenizer_file,
                    max_tokens=chunking.tokens,
                    overlap=chunking.overlap,
                    settings=self.settings.ingestion,
                    language=chunking.language,
                )
            )
        return self._parsers[key]


def _index_options(settings: IngestionSettings) -> IndexOptions:
    return IndexOptions(
        m=settings.index_m, ef_construction=settings.index_ef_construction, memory_mb=settings.index_memory_mb
    )


@asynccontextmanager
async def open_indexing(settings: Settings, *, ray: str | None = None) -> AsyncIterator[Indexing]:
    """Open the database, and connect to the Ray cluster if an address is given; readers and models open when needed.

    Raises:
        FootnoteError: the database or the cluster cannot be used; the message says what to do.

    """
    async with AsyncExitStack() as stack:
        server = stack.enter_context(database_server(settings))
        database = await Database.open(server.dsn, settings=settings.database, session=default_scan(settings.retrieval))
        stack.push_async_callback(database.close)
        await stack.enter_async_context(kept_running(server))
        await schema_version.check(database)
        cluster = None
        if ray is not None:
            from ingestion.ray.connection import open_ray

            cluster = await stack.enter_async_context(open_ray(ray, settings=settings))
        yield Indexing(database, settings=settings, stack=stack, cluster=cluster)
