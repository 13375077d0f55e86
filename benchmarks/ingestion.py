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
    "encode": "bare `encode`, Footnote's batches",
    "encode-32": "bare `encode`, batches of 32",
    "stock-256": "LlamaIndex's pipeline, chunks of 256 tokens",
    "stock": "LlamaIndex's pipeline, its defaults",
}


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    pages = "\n".join(str(page.resolve()) for page in manual_pages(options.manual, every=options.every))
    measured: dict[str, list[Measured]] = defaultdict(list)
    with open_laboratory(options.folder) as laboratory:
        _one(laboratory, OURS, "\n".join(pages.splitlines()[:3]))  # the model is exported, once
        for turn in range(options.rounds):
            for kind in reversed(KINDS) if turn % 2 else KINDS:
                measured[kind].append(_one(laboratory, kind, pages))
    return _report(measured)


def _one(laboratory: Laboratory, kind: str, pages: str) -> Measured:
    printed = laboratory.run("benchmarks.contestants", kind, laboratory.database("stock"), stdin=pages)
    return Measured(**last_json(printed))


def _report(measured: dict[str, list[Measured]]) -> str:
    rows = []
    for kind, name in NAMES.items():
        runs = measured[kind]
        rows.append([
            name,
            runs[0].documents,
            runs[0].chunks,
            median(run.seconds for run in runs),
            median(run.chunks / run.seconds for run in runs),
            median(run.documents / run.seconds for run in runs),
            median(other.seconds / ours.seconds for ours, other in zip(measured[OURS], runs, strict=True)),
        ])  # fmt: skip
    return table(["", "documents", "chunks", "seconds", "chunks/s", "documents/s", "its seconds / ours"], rows)
