"""Builds pipelines; opens readers and models when they are first needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedding.cache import Embedders
from embedding.files import accepted, find_model
from ingestion.chunking.choice import choose_chunking
from ingestion.pipeline.pipeline import Pipeline
from ingestion.readers.process_pool import Parser
from storage import schema_version
from storage.chunk_tables import IndexOptions
from storage.collections.collections import Collections
from storage.collections.generations import Generations
from storage.database import Database
from storage.generation import Chunking, EmbeddingIdentity
from storage.search.search import default_scan
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from config.settings import IngestionSettings, Settings
    from embedding.files import ModelFiles
    from ingestion.pipeline.pipeline import Embeds, Parses
    from ingestion.ray.connection import RayCluster
    from storage.database import Connection
    from storage.generation import Generation


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
        self._stack = stack
        self._parsers: dict[tuple[Path, Chunking], Parses] = {}
        stack.callback(self.embedders.close)

    async def configured(self) -> tuple[EmbeddingIdentity, Chunking]:
        """Return the model and chunking that the settings give a new generation.

        Raises:
            EmbeddingModelNotFound: there is no such model.

        """
        files = await asyncio.to_thread(find_model, self.settings.embedding)
        chunking = choose_chunking(self.settings.ingestion, max_tokens=files.max_tokens)
        return files.identity(self.settings.embedding), chunking

    async def accepted(self) -> frozenset[str]:
        """Return the fingerprints of the models that an active generation may have been built with.

        Raises:
            EmbeddingModelNotFound: there is no such model.

        """
        files = await asyncio.to_thread(find_model, self.settings.embedding)
        return accepted(files, self.settings.embedding)

    async def ensure(self, collection: str) -> Generation:
        """Return a collection's active generation; create the collection from the settings if there is none.

        Raises:
            InvalidCollection: the name, or the language, cannot be used.
            EmbeddingMismatch: the settings name another model than the one it was built with.

        """
        embedding, chunking = await self.configured()
        return await self.collections.ensure(
            collection,
            embedding=embedding,
            chunking=chunking,
            accepted={embedding.fingerprint, *await self.accepted()},
        )

    async def pipeline(
        self,
        generation: Generation,
        *,
        beside: Generation | None = None,
        first: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> Pipeline:
        """Return a pipeline into a generation; the model is loaded when a document needs it.

        Raises:
            EmbeddingMismatch: the model that it was built with is not available.

        """
        files = await self.embedders.files_of(generation.embedding)

        async def open_embedder() -> Embeds:
            if self._cluster is None:
                return await self.embedders.of(generation.embedding)
            used, found = await self.embedders.found(generation.embedding)
            return await self._cluster.embedder(used, files=found)

        return Pipeline(
            self.database,
            generation=generation,
            parser=await self._parser(files, generation.chunking),
            open_embedder=open_embedder,
            settings=self.settings.ingestion,
            beside=beside,
            first=first,
        )

    async def _parser(self, files: ModelFiles, chunking: Chunking) -> Parses:
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
