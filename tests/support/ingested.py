"""Texts brought into collections by the real reader, splitter and embedding model, and asked for over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from support.indexed import real_app
from support.pipelines import ingest_files
from support.scripted import running

from config.settings import IngestionSettings, Settings
from embedding.embedder import Embedder
from ingestion.readers.process_pool import Parser
from storage.collections.collections import Collections
from storage.database import Database
from storage.generation import Chunking
from storage.search.lexicon import Lexicon


async def ingested(
    database: Database,
    texts: Mapping[str, str],
    *,
    embedder: Embedder,
    folder: Path,
    name: str = "default",
    language: str = "english",
    max_tokens: int = 64,
    overlap: int = 16,
) -> None:
    """Write files and bring them into a collection."""
    for source, text in texts.items():
        (folder / source).write_text(text, encoding="utf-8")
    generation = await Collections(database).ensure(
        name,
        embedding=embedder.identity,
        chunking=Chunking(tokens=max_tokens, overlap=overlap, language=language),
    )
    parser = Parser(
        tokenizer_file=embedder.files.tokenizer_file,
        max_tokens=max_tokens,
        overlap=overlap,
        settings=IngestionSettings(),
    )
    try:
        report = await ingest_files(
            database,
            *(folder / source for source in texts),
            generation=generation,
            parser=parser,
            model=embedder,
            base=folder,
        )
    finally:
        parser.close()
    assert report.added == len(texts), report
    await Lexicon(database, generation=generation).keep_up()  # as `python -m ingestion` does at its end


class Asking:
    """Asks a server for passages."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def __call__(self, question: str, **options: object) -> list[dict[str, Any]]:
        response = await self.http.post("/retrieve", json={"question": question, **options})
        assert response.status_code == 200, response.text
        return response.json()["results"]

    async def sources(self, question: str, **options: object) -> list[str]:
        """Return the sources of the passages, in their order."""
        return [found["source"] for found in await self(question, **options)]


@asynccontextmanager
async def asking(settings: Settings, *, embedder: Embedder) -> AsyncIterator[Asking]:
    """Serve the real application over what was ingested."""
    with running(real_app(settings, embedder=embedder)) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
            yield Asking(http)
