"""Running the pipeline over files with a made-up model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from support.corpus import vector

from config.settings import IngestionSettings
from embedding.errors import EmbeddingFailed
from ingestion.inputs.local_files import LocalFiles
from ingestion.inputs.walk import find_files
from ingestion.pipeline.pipeline import Embeds, Parses, Pipeline, Progress
from ingestion.pipeline.report import IngestReport
from storage.database import Database
from storage.generation import Generation


class MadeUpModel:
    """Made-up vectors; counts what it is asked; fails on texts with the word POISON."""

    width = 1

    def __init__(self) -> None:
        self.texts_seen: list[str] = []

    async def texts(self, texts: Sequence[str]) -> np.ndarray:
        if any("POISON" in text for text in texts):
            raise EmbeddingFailed
        self.texts_seen += texts
        await asyncio.sleep(0)
        return np.stack([vector(text) for text in texts])


async def ingest_files(
    database: Database,
    *paths: str | Path,
    generation: Generation,
    parser: Parses,
    model: Embeds,
    settings: IngestionSettings | None = None,
    base: Path | None = None,
    metadata: Mapping[str, object] | None = None,
    beside: Generation | None = None,
    progress: Progress | None = None,
    watch: Callable[[Pipeline], None] = lambda _: None,
) -> IngestReport:
    """Bring files and folders into a generation, as ``python -m ingestion`` does."""

    async def open_embedder() -> Embeds:
        return model

    used = settings or IngestionSettings(batch_chunks=4)
    pipeline = Pipeline(
        database, generation=generation, parser=parser, open_embedder=open_embedder, settings=used, beside=beside
    )
    named = [str(path) for path in paths]
    files = LocalFiles(
        database, generation=generation, beside=beside, settings=used, base=base, named=named, metadata=metadata
    )
    changed = files.changed(find_files(named), report=pipeline.report, trace=pipeline.trace)
    watch(pipeline)
    return await pipeline.run(changed, progress=progress)
