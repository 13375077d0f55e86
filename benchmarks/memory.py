"""Memory of an ingestion of many small documents: real pipeline, real PostgreSQL, a model that answers at once."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.figures import table
from benchmarks.laboratory import last_json, open_laboratory
from config.settings import Settings, load_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingestion.pipeline.pipeline import Pipeline

FOLDER_FILES = 1000  # in each folder
PAUSE = 0.25  # seconds between two looks
SHARES = (0.05, 0.25, 0.5, 0.75, 1.0)
WORDS = (
    "vacuum",
    "index",
    "row",
    "lock",
    "page",
    "buffer",
    "commit",
    "snapshot",
    "replica",
    "tuple",
    "cursor",
    "trigger",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the processes held at one moment.

    Attributes:
        documents: written by then.
        own: bytes of the process that ingests (RSS).
        readers: bytes of the processes that read files.

    """

    documents: int
    own: int
    readers: int


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    with open_laboratory(options.folder) as laboratory:
        listing = laboratory.folder / "documents"
        _write_documents(listing, options.documents)
        printed = last_json(laboratory.run("benchmarks.memory", str(listing)))
    samples = [Sample(**sample) for sample in printed["samples"]]
    return _report(samples, seconds=printed["seconds"], documents=options.documents)


def _report(samples: Sequence[Sample], *, seconds: float, documents: int) -> str:
    rows = []
    for share in SHARES:
        at = next((each for each in samples if each.documents >= share * documents), samples[-1])
        rows.append([at.documents, at.own / 2**20, at.readers / 2**20])
    begin = next(each for each in samples if each.documents >= SHARES[0] * documents)
    growth = (samples[-1].own - begin.own) / max(1, samples[-1].documents - begin.documents)
    peak = max(each.own + each.readers for each in samples) / 2**20
    told = table(["documents written", "MiB", "MiB of the readers"], rows)
    return f"{told}\n\npeak {peak:.0f} MiB, {growth:.0f} bytes more a document, {documents / seconds:.0f} documents/s"


def _write_documents(folder: Path, count: int) -> None:
    for number in range(count):
        place = folder / f"{number // FOLDER_FILES:04}"
        if number % FOLDER_FILES == 0:
            place.mkdir(parents=True, exist_ok=True)
        words = " ".join(WORDS[(number // 7**power) % len(WORDS)] for power in range(6))
        (place / f"note-{number:06}.txt").write_text(f"Note {number}: {words}.\n\nIt is about {words} too.\n")


class InstantModel:
    """Stands in for the embedding model: vectors from hashes, at once."""

    width = 1

    def __init__(self, settings: Settings) -> None:
        from embedding.files import find_model

        self.files = find_model(settings.embedding)
        self.identity = self.files.identity(settings.embedding)

    async def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages."""
        made = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
            made[row] = np.random.default_rng(seed).standard_normal(self.identity.dimension)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return made

    def close(self) -> None:
        """Nothing is open."""


class Watching:
    """Takes samples on a thread while a pipeline works."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.pipeline: Pipeline | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def watch(self, pipeline: Pipeline) -> None:
        """Count this pipeline's documents from now on."""
        self.pipeline = pipeline

    def end(self) -> list[Sample]:
        """Stop; return what was seen."""
        self._over.set()
        self._thread.join()
        return self.samples

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(PAUSE):
            written = self.pipeline.report.added if self.pipeline else 0
            self.samples.append(Sample(written, process.memory_info().rss, _readers(process)))


def _readers(process: psutil.Process) -> int:
    held = 0
    for child in process.children(recursive=True):
        try:
            held += 0 if "postgres" in child.name() else child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return held


async def _measure(folder: Path, settings: Settings) -> dict[str, object]:
    from ingestion.inputs.inputs import Inputs
    from ingestion.pipeline.factory import open_indexing
    from ingestion.runs.run import ingest

    watching = Watching()
    async with open_indexing(settings) as indexing:
        indexing.embedders.lend(InstantModel(settings))  # type: ignore[arg-type]
        started = time.perf_counter()
        await ingest(indexing, Inputs("many", [str(folder)], base=folder), watch=watching.watch)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "samples": [asdict(sample) for sample in watching.end()]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(Path(sys.argv[1]), load_settings()))))
