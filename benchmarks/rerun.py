"""An ingestion with nothing changed, beside reading and hashing the same files."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import time
from pathlib import Path

from benchmarks.corpus import manual_pages
from benchmarks.figures import median, table
from benchmarks.laboratory import Laboratory, open_laboratory
from config.settings import Settings
from ingestion.inputs.inputs import Inputs
from ingestion.pipeline.factory import open_indexing
from ingestion.readers.process_pool import hash_file
from ingestion.runs.run import ingest

TURNS = 7  # for each round that was asked for


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    pages = [page.resolve() for page in manual_pages(options.manual, every=options.every)]
    with open_laboratory(options.folder) as laboratory:
        listing = laboratory.folder / "pages"
        _copy(pages, listing)
        laboratory.run("ingestion", str(listing), "--collection", "rerun", "--json")
        inside, hashing = asyncio.run(
            _inside(laboratory.settings(), sorted(listing.iterdir()), turns=TURNS * options.rounds)
        )
        command = [_command(laboratory, listing) for _ in range(options.rounds)]
    ratio = median(ours / bare for ours, bare in zip(inside, hashing, strict=True))
    rows = [
        ["reading and hashing", median(hashing), 1.0],
        ["run with nothing changed", median(inside), ratio],
        ["the whole command, imports and start included", median(command), median(command) / median(hashing)],
    ]
    return f"{len(pages)} pages\n\n{table(['', 'seconds', 'ratio'], rows)}"


def _copy(pages: list[Path], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for page in pages:
        shutil.copy(page, folder)


async def _inside(settings: Settings, pages: list[Path], *, turns: int) -> tuple[list[float], list[float]]:
    inside, hashing = [], []
    inputs = Inputs("rerun", [str(pages[0].parent)])
    async with open_indexing(settings) as indexing:
        await ingest(indexing, inputs, watch=lambda _: None)
        for _ in range(turns):
            started = time.perf_counter()
            for page in pages:
                hash_file(page)
            hashed = time.perf_counter()
            report = await ingest(indexing, inputs, watch=lambda _: None)
            hashing.append(hashed - started)
            inside.append(time.perf_counter() - hashed)
            if report.unchanged != len(pages):
                msg = "the pages were not all unchanged"
                raise RuntimeError(msg)
    return inside, hashing


def _command(laboratory: Laboratory, folder: Path) -> float:
    started = time.perf_counter()
    laboratory.run("ingestion", str(folder), "--collection", "rerun", "--json")
    return time.perf_counter() - started
