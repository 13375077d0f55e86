"""Everything an ingestion needs, opened in order and closed in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from config.settings import Settings
from ingestion.embedding import ModelFiles, find_model
from ingestion.parsing import Parser
from ingestion.pipeline import Pipeline
from ingestion.types import Json
from storage import schema
from storage.collections import Chunking, Collections
from storage.database import Database
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from ingestion.embedding import Embedder


@asynccontextmanager
async def open_pipeline(
    settings: Settings, *, collection: str, base: Path | None = None, metadata: Mapping[str, Json] | None = None
) -> AsyncIterator[Pipeline]:
    """Open the database, the collection and the reader; the model is loaded when a document needs it.

    Raises:
        FootnoteError: the database, the collection or the model's files cannot be used; the message says what to do.

    """
    async with AsyncExitStack() as stack:
        server = stack.enter_context(database_server(settings))
        database = await Database.open(server.dsn, settings=settings.database)
        stack.push_async_callback(database.close)
        await stack.enter_async_context(kept_running(server))
        await schema.check(database)
        files = find_model(settings.embedding)
        generation = await Collections(database).ensure(
            collection, embedding=files.identity(settings.embedding), chunking=_chunking(settings, files)
        )
        parser = await stack.enter_async_context(
            Parser(
                tokenizer_file=files.tokenizer_file,
                max_tokens=generation.chunking.tokens,
                overlap=generation.chunking.overlap,
                settings=settings.ingestion,
            )
        )

        async def open_embedder() -> Embedder:
            from ingestion.embedding import open_embedder

            embedder = await asyncio.to_thread(open_embedder, settings)
            stack.callback(embedder.close)
            return embedder

        yield Pipeline(
            database,
            generation=generation,
            parser=parser,
            open_embedder=open_embedder,
            settings=settings.ingestion,
            base=base,
            metadata=metadata,
        )


def _chunking(settings: Settings, files: ModelFiles) -> Chunking:
    """Return the chunking of a new collection: what the settings say, and no more than the model reads."""
    wanted = settings.ingestion
    tokens = min(wanted.chunk_tokens or files.max_tokens, files.max_tokens)
    return Chunking(tokens=tokens, overlap=min(wanted.chunk_overlap, tokens // 4), language=wanted.language)
