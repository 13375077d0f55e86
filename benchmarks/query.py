"""``/query`` with a model that answers at once, beside the app of LlamaIndex's tutorials."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from benchmarks.corpus import manual_pages, questions, short_documents
from benchmarks.figures import median, percentile, table
from benchmarks.laboratory import Laboratory, open_laboratory
from benchmarks.load import Outcome

DOCUMENTS = 400
QUESTIONS = 4000
Key = tuple[int, str]


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    documents = short_documents(manual_pages(options.manual), count=DOCUMENTS)
    asked = questions(documents, count=QUESTIONS)
    with open_laboratory(options.folder) as laboratory:
        tutorial = fill(laboratory, documents)
        with (
            laboratory.serving("benchmarks.footnote_app", LLM__PROVIDER="extractive") as ours,
            laboratory.serving("benchmarks.tutorial_app", tutorial) as theirs,
        ):
            urls = {"Footnote": f"{ours}/query", "tutorial": f"{theirs}/query"}
            return _report(_measure(laboratory, urls, asked, options))


def fill(laboratory: Laboratory, documents: list[str]) -> str:
    """Give the documents to both; return the URL of the tutorial's database."""
    folder = laboratory.folder / "documents"
    folder.mkdir(exist_ok=True)
    for number, document in enumerate(documents):
        Path(folder, f"{number:03}.txt").write_text(document)
    laboratory.run("ingestion", str(folder), "--json")
    tutorial = laboratory.database("tutorial")
    laboratory.run("benchmarks.tutorial_app", tutorial, "fill", stdin="\n".join(documents))
    return tutorial


def _measure(
    laboratory: Laboratory, urls: dict[str, str], asked: list[str], options: argparse.Namespace
) -> dict[Key, list[Outcome]]:
    for url in urls.values():  # the first requests pay for what is made once
        laboratory.load(url, clients=16, seconds=3, questions=asked)
    outcomes: dict[Key, list[Outcome]] = defaultdict(list)
    for turn in range(options.rounds):
        for clients in options.clients:
            for name in sorted(urls, reverse=bool(turn % 2)):
                shifted = asked[turn * 97 :] + asked[: turn * 97]
                outcome = laboratory.load(urls[name], clients=clients, seconds=options.seconds, questions=shifted)
                outcomes[clients, name].append(outcome)
    return outcomes


def _report(outcomes: dict[Key, list[Outcome]]) -> str:
    rows: list[list[object]] = []
    for clients, name in outcomes:
        runs = outcomes[clients, name]
        rows.append([
            clients,
            name,
            median(percentile(run.latencies, 0.5) for run in runs),
            median(percentile(run.latencies, 0.95) for run in runs),
            median(len(run.latencies) / run.seconds for run in runs),
            sum(len(run.failures) for run in runs),
        ])  # fmt: skip
    ratios: list[list[object]] = []
    for clients in dict.fromkeys(clients for clients, _ in outcomes):
        pairs = list(zip(outcomes[clients, "Footnote"], outcomes[clients, "tutorial"], strict=True))
        ratios.append([
            clients,
            median(percentile(their.latencies, 0.5) / percentile(our.latencies, 0.5) for our, their in pairs),
            median(
                (len(our.latencies) / our.seconds) / max(len(their.latencies) / their.seconds, 1e-9)
                for our, their in pairs
            ),
        ])  # fmt: skip
    return "\n\n".join([
        table(["clients", "app", "p50 ms", "p95 ms", "requests/s", "failures"], rows),
        "Medians of the ratios, run by run:",
        table(["clients", "tutorial's p50 / ours", "our requests/s / the tutorial's"], ratios),
    ])  # fmt: skip
