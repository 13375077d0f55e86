"""The chunk table at any size: load, HNSW build, search beside raw SQL, recall beside exact search.

Figures are kept in the folder as they come (``figures.json``): with ``--folder`` a run that was stopped goes on, and
``--again`` measures the searches anew over the table that is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.laboratory import Laboratory, open_laboratory
from benchmarks.store_access import measure_access
from benchmarks.store_load import HnswIndex, build, empty_table, fill, sizes, vacuum
from benchmarks.store_search import measure_index, measure_search
from benchmarks.store_secrets import measure_secrets
from benchmarks.store_server import embedding_time, measure_server
from benchmarks.store_tables import tables
from benchmarks.store_truth import Truth, read_truth
from benchmarks.synthetic_chunks import SyntheticChunks
from config.settings import Settings
from storage.database import Database
from storage.search.lexicon import Lexicon
from storage.search.search import default_scan
from storage.server import database_server

QUESTIONS = 200
MEMORY = {
    "shared_buffers": "4GB",
    "effective_cache_size": "12GB",
    "maintenance_work_mem": "3GB",
    "max_parallel_maintenance_workers": "2",
    "work_mem": "32MB",
    "max_wal_size": "8GB",
    "random_page_cost": "1.1",
}


@dataclass(frozen=True)
class Notebook:
    """The figures so far, in a file."""

    path: Path

    @property
    def figures(self) -> dict[str, Any]:
        """Return them."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def note(self, **figures: object) -> None:
        """Add to them."""
        self.path.write_text(json.dumps(self.figures | figures, indent=1))
        print(json.dumps(figures), flush=True)


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    with tempfile.TemporaryDirectory(prefix="footnote-benchmark-") as temporary:
        Path(temporary).chmod(0o755)  # PostgreSQL runs as another user where this runs as root
        return _run(options.folder or Path(temporary), options)


def _run(folder: Path, options: argparse.Namespace) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    _remember_memory(folder)
    with open_laboratory(folder) as laboratory:
        notebook = Notebook(laboratory.folder / "figures.json")
        asyncio.run(_measure(laboratory, notebook, options))
        return tables(notebook.figures)


def _remember_memory(folder: Path) -> None:
    """Give the server its memory settings: they count from its next start."""
    with database_server(Settings(data_dir=folder)) as server, closing(psycopg2.connect(server.dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in MEMORY.items():
                cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")


async def _measure(laboratory: Laboratory, notebook: Notebook, options: argparse.Namespace) -> None:
    settings = laboratory.settings()
    chunks = SyntheticChunks(options.chunks)
    database = await Database.open(laboratory.url, settings=settings.database, session=default_scan(settings.retrieval))
    try:
        generation = await empty_table(database, dimension=chunks.dimension)
        questions = chunks.questions(QUESTIONS)
        truth_file = laboratory.folder / "truth.npz"
        if "load_seconds" not in notebook.figures:
            truth = Truth(questions)
            seconds = await fill(database, generation, chunks, truth)
            truth.save(truth_file)
            notebook.note(chunks=options.chunks, load_seconds=seconds)
        if "vacuum_seconds" not in notebook.figures:
            await Lexicon(database, generation=generation).keep_up()
            notebook.note(vacuum_seconds=vacuum(laboratory.url, generation), sizes=await sizes(database, generation))
        truths = read_truth(truth_file)
        asked: dict[str, Any] = {"generation": generation, "questions": questions, "truths": truths}
        for number, index in enumerate(map(HnswIndex.parse, options.indexes)):
            if str(index) not in notebook.figures.get("indexes", {}):
                await _index(laboratory, notebook, database, index, asked)
            if number == 0:
                await _searches(laboratory, notebook, database, options, asked)
    finally:
        await database.close()


async def _searches(
    laboratory: Laboratory,
    notebook: Notebook,
    database: Database,
    options: argparse.Namespace,
    asked: Mapping[str, Any],
) -> None:
    """Measure the parts that were asked for, if they were not before."""
    generation, questions, url = asked["generation"], asked["questions"], laboratory.url
    settings = laboratory.settings()
    parts: Mapping[str, Callable[[], Awaitable[object]]] = {
        "search": lambda: measure_search(database, url=url, settings=settings.retrieval, **asked),
        "access": lambda: measure_access(url, settings=settings, **asked),
        "secrets": lambda: measure_secrets(url, settings=settings, generation=generation),
        "server": lambda: measure_server(
            laboratory, generation=generation, questions=questions, settings=settings.retrieval
        ),
        "embedding": lambda: embedding_time(laboratory, questions),
    }
    wanted = [*options.parts, *(["embedding"] if "server" in options.parts else [])]
    for name in wanted:
        if options.again or name not in notebook.figures:
            notebook.note(**{name: await parts[name]()})


async def _index(
    laboratory: Laboratory, notebook: Notebook, database: Database, index: HnswIndex, asked: Mapping[str, Any]
) -> None:
    seconds, size = await build(database, asked["generation"], index)
    print(f"{index}: built in {seconds:.0f} s", flush=True)
    figures = await measure_index(laboratory.url, index=index, **asked)
    built = {"seconds": seconds, "bytes": size, "searches": figures}
    notebook.note(indexes=notebook.figures.get("indexes", {}) | {str(index): built})
