"""``/query`` with a model that answers at once, beside the app of LlamaIndex's tutorials.

Both search by vectors only, and ask the same model's server. Footnote runs as it does by default, with as many workers
as that gives, but keeps no question's vector: questions come twice here.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.corpus import manual_pages, questions, short_documents
from benchmarks.figures import median, percentile, table
from benchmarks.laboratory import Laboratory, open_laboratory
from benchmarks.load import Outcome

DOCUMENTS = 400
QUESTIONS = 4000
OURS = "Footnote"
BODY = {"mode": "vector"}  # which the tutorial's app ignores: it has no other
Key = tuple[int, str]


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    documents = short_documents(manual_pages(options.manual), count=DOCUMENTS)
    asked = questions(documents, count=QUESTIONS)
    with open_laboratory(options.folder) as laboratory, serving(laboratory, documents) as urls:
        return _report(measured(laboratory, urls, asked, options))


@contextmanager
def serving(laboratory: Laboratory, documents: list[str]) -> Iterator[dict[str, str]]:
    """Give documents to both and start them; yield the addresses to ask, by name."""
    tutorial = fill(laboratory, documents)
    with (
        laboratory.serving("benchmarks.instant_model") as model,
        laboratory.serving("server", **asking(model), CACHE__EMBEDDING_BYTES="0") as ours,
        laboratory.serving("benchmarks.tutorial_app", tutorial, model) as theirs,
    ):
        yield {OURS: f"{ours}/query", "tutorial": f"{theirs}/query"}


def asking(model_url: str) -> dict[str, str]:
    """Return the settings with which Footnote asks a model's server that speaks OpenAI's protocol."""
    return {
        "LLM__PROVIDER": "openai_like",
        "LLM__MODEL": "instant",
        "LLM__BASE_URL": model_url,
        "LLM__API_KEY": "none",
    }


def fill(laboratory: Laboratory, documents: list[str]) -> str:
    """Give the documents to both; return the URL of the tutorial's database."""
    ingest(laboratory, documents)
    tutorial = laboratory.database("tutorial")
    laboratory.run("benchmarks.tutorial_app", tutorial, "fill", stdin="\n".join(documents))
    return tutorial


def ingest(laboratory: Laboratory, documents: list[str]) -> None:
    """Give the documents to Footnote."""
    folder = laboratory.folder / "documents"
    folder.mkdir(exist_ok=True)
    for number, document in enumerate(documents):
        Path(folder, f"{number:03}.txt").write_text(document)
    laboratory.run("ingestion", str(folder), "--json")


def measured(
    laboratory: Laboratory, urls: dict[str, str], asked: list[str], options: argparse.Namespace
) -> dict[Key, list[Outcome]]:
    """Ask each by turns, with each number of clients; return what came of it, turn by turn."""
    for url in urls.values():  # the first requests pay for what is made once
        laboratory.load(url, clients=16, seconds=3, questions=asked, **BODY)
    outcomes: dict[Key, list[Outcome]] = defaultdict(list)
    for turn in range(options.rounds):
        for clients in options.clients:
            for name in reversed(urls) if turn % 2 else urls:
                shifted = asked[turn * 97 :] + asked[: turn * 97]
                outcome = laboratory.load(
                    urls[name], clients=clients, seconds=options.seconds, questions=shifted, **BODY
                )
                outcomes[clients, name].append(outcome)
    return outcomes


def _report(outcomes: dict[Key, list[Outcome]]) -> str:
    rows: list[list[object]] = []
    for (clients, name), runs in outcomes.items():
        rows.append([
            clients,
            name,
            median(p50(run) for run in runs),
            median(percentile(run.latencies, 0.95) for run in runs),
            median(rate(run) for run in runs),
            sum(len(run.failures) for run in runs),
        ])  # fmt: skip
    failures = Counter(failure for runs in outcomes.values() for run in runs for failure in run.failures)
    ratios: list[list[object]] = []
    for (clients, name), runs in outcomes.items():
        if name != OURS:
            pairs = list(zip(outcomes[clients, OURS], runs, strict=True))
            ratios.append([
                clients,
                name,
                median(p50(theirs) / p50(ours) for ours, theirs in pairs),
                median(rate(ours) / rate(theirs) for ours, theirs in pairs),
            ])  # fmt: skip
    return "\n\n".join([
        table(["clients", "app", "p50 ms", "p95 ms", "requests/s", "failures"], rows),
        f"Failures: {', '.join(f'{count} {name}' for name, count in failures.items()) or 'none'}",
        "Medians of the ratios, turn by turn:",
        table(["clients", "beside", "its p50 / ours", "our requests/s / its"], ratios),
    ])  # fmt: skip


def p50(outcome: Outcome) -> float:
    """Return the median of the latencies in milliseconds; NaN if nothing was answered."""
    return percentile(outcome.latencies, 0.5) or float("nan")


def rate(outcome: Outcome) -> float:
    """Return answers a second; NaN if nothing was answered."""
    return len(outcome.latencies) / outcome.seconds or float("nan")
