"""Ingestion of the PostgreSQL manual, beside the bare model and LlamaIndex's stock pipeline."""

from __future__ import annotations

import argparse
from collections import defaultdict

from benchmarks.contestants import KINDS, Measured
from benchmarks.corpus import manual_pages
from benchmarks.figures import median, table
from benchmarks.laboratory import Laboratory, last_json, open_laboratory

OURS = "pipeline"
NAMES = {
    "pipeline": "Footnote's pipeline",
    "bare": "the model alone, called the fastest way",
    "encode-4": "the model alone, `encode` in batches of 4",
    "encode-32": "the model alone, `encode` in batches of 32",
    "stock-256": "LlamaIndex's pipeline, chunks of 256 tokens",
    "stock": "LlamaIndex's pipeline, its defaults",
}
HEAD = [
    "", "documents", "chunks", "chunks/s", "seconds", "its seconds / ours", "CPU s", "of it PostgreSQL",
    "its CPU / ours", "its CPU a chunk / ours",
]  # fmt: skip


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    pages = "\n".join(str(page.resolve()) for page in manual_pages(options.manual, every=options.every))
    measured: dict[str, list[Measured]] = defaultdict(list)
    with open_laboratory(options.folder) as laboratory:
        one(laboratory, OURS, "\n".join(pages.splitlines()[:3]))  # the model is exported, once
        for turn in range(options.rounds):
            for kind in reversed(KINDS) if turn % 2 else KINDS:
                measured[kind].append(one(laboratory, kind, pages))
    return table(HEAD, [_row(name, measured[kind], ours=measured[OURS]) for kind, name in NAMES.items()])


def one(laboratory: Laboratory, kind: str, pages: str) -> Measured:
    """Let a contestant ingest pages, one path a line, in a process of its own."""
    printed = laboratory.run("benchmarks.contestants", kind, laboratory.database("stock"), stdin=pages)
    return Measured(**last_json(printed))


def _row(name: str, runs: list[Measured], *, ours: list[Measured]) -> list[object]:
    beside = list(zip(runs, ours, strict=True))
    return [
        name,
        runs[0].documents,
        runs[0].chunks,
        median(run.chunks / run.seconds for run in runs),
        median(run.seconds for run in runs),
        median(run.seconds / own.seconds for run, own in beside),
        median(run.cpu for run in runs),
        median(run.postgres for run in runs),
        median(run.cpu / own.cpu for run, own in beside),
        median(run.cpu / run.chunks * own.chunks / own.cpu for run, own in beside),
    ]
