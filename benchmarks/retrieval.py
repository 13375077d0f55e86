"""Every engine through the running server's ``/retrieve``, beside bm25s, exact dense search and their fusion.

XQuAD's paragraphs and RepliQA's articles are hidden among the pages of the PostgreSQL manual, in one collection; each
folder in BEIR's layout (``--beir``) is a collection of its own. With ``--folder`` what is ingested is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.corpus import ManualMissing, manual_pages
from benchmarks.figures import percentile, table
from benchmarks.laboratory import ROOT, Laboratory, open_laboratory
from benchmarks.retrieval_figures import CHARACTERS, K, Values, beside, measured
from benchmarks.retrieval_sets import HOW_TO_GET_THEM, Asked, QuestionSet, beir, every, repliqa, xquad
from benchmarks.retrieval_yardstick import Found, Yardstick, embed, read_chunks

HAYSTACK = "haystack"
HIDDEN = ("xquad", "repliqa")
ENGINES = ("hybrid", "vector", "keyword", "window", "auto_merging", "fusion")
USUAL: Mapping[str, Mapping[str, object]] = {
    **{name: {"mode": name} for name in ENGINES},
    "hybrid, neighbours joined": {"mode": "hybrid", "join_neighbours": True},
    "hybrid, near-duplicates kept": {"mode": "hybrid", "near_duplicates": "keep"},
}
LEGS = {"keyword": "bm25s", "vector": "exact dense", "hybrid": "bm25s + exact dense, RRF"}
WARM_UP = 20
OK = 200


@dataclass
class Outcome:
    """What came of asking one engine, or the yardstick."""

    values: Values
    latencies: list[float] = field(default_factory=list)


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    collections = _collections(options)
    with open_laboratory(options.folder) as laboratory:
        for name, sets in collections.items():
            _ingest(laboratory, name, sets, pages=manual_pages(options.manual) if name == HAYSTACK else ())
        with laboratory.serving("server", LLM__PROVIDER="extractive", LOG__LEVEL="warning") as url:
            reports = [
                _report(read, asyncio.run(_compare(laboratory, url, name, read, options)))
                for name, sets in collections.items()
                for read in sets
                if _is_wanted(read.name, options)
            ]
    return "\n\n".join(reports)


def _collections(options: argparse.Namespace) -> dict[str, list[QuestionSet]]:
    """Return what is ingested, by collection: those of which a set is wanted."""
    collections = {folder.name: [beir(folder)] for folder in options.beir if _is_wanted(folder.name, options)}
    if any(_is_wanted(name, options) for name in HIDDEN):
        collections = {HAYSTACK: _hidden(options.data or ROOT.parent / "shared" / "data"), **collections}
    return collections


def _is_wanted(name: str, options: argparse.Namespace) -> bool:
    return options.sets is None or name in options.sets


def _hidden(folder: Path) -> list[QuestionSet]:
    files = folder / "xquad.en.json", folder / "repliqa-50.json"
    if not all(file.exists() for file in files):
        raise ManualMissing(HOW_TO_GET_THEM)
    return [xquad(files[0]), repliqa(files[1])]


def _ingest(laboratory: Laboratory, name: str, sets: Sequence[QuestionSet], pages: Sequence[Path] = ()) -> None:
    """Bring the documents into a collection; those that are there are left alone."""
    folder = laboratory.folder / "documents"
    started = time.perf_counter()
    for read in sets:
        read.write(folder)
    own = [str(folder / read.name) for read in sets]
    printed = laboratory.run("ingestion", *own, "--collection", name, "--base", str(folder), "--json")
    if pages:
        place = str(pages[0].parent.resolve())
        laboratory.run("ingestion", place, "--collection", name, "--base", place, "--json")
    print(f"{name}: ingested in {time.perf_counter() - started:.0f} s; {printed.strip()[-300:]}", file=sys.stderr)


async def _compare(
    laboratory: Laboratory, url: str, collection: str, read: QuestionSet, options: argparse.Namespace
) -> dict[str, Outcome]:
    """Ask everything of the server and of the yardstick; return the outcomes by name."""
    questions = every(read.questions, count=options.questions)
    settings = laboratory.settings()
    vectors = await embed([asked.text for asked in questions], settings=settings)
    yardstick = Yardstick(await read_chunks(laboratory.url, collection), settings=settings.retrieval)
    ranked = {
        asked.id: yardstick.rankings(asked.text, vector, k=K) for asked, vector in zip(questions, vectors, strict=True)
    }
    outcomes = {
        name: Outcome(measured(questions, {asked: rankings[mode] for asked, rankings in ranked.items()}))
        for mode, name in LEGS.items()
    }
    asked_for = {name: {"mode": name} for name in options.engines} if options.engines else USUAL
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for name, body in asked_for.items():
            if outcome := await _engine(client, questions, {"collection": collection, "k": K, **body}):
                outcomes[name] = outcome
                print(f"{read.name}, {name}: {json.dumps(_means(outcome.values))}", file=sys.stderr, flush=True)
    return outcomes


async def _engine(client: httpx.AsyncClient, questions: Sequence[Asked], body: dict[str, Any]) -> Outcome | None:
    """Ask an engine one question after the other; None where the server has none of that name."""
    found: dict[str, list[Found]] = {}
    latencies: list[float] = []
    for number, asked in enumerate([*questions[:WARM_UP], *questions]):
        started = time.perf_counter()
        response = await client.post("/retrieve", json={"question": asked.text, **body})
        took = (time.perf_counter() - started) * 1000
        if response.status_code != OK:
            print(f"{body['mode']}: {response.text[:200]}", file=sys.stderr)
            return None
        if number >= min(WARM_UP, len(questions)):
            latencies.append(took)
        found[asked.id] = [
            Found(one["source"], one["start"], one["end"], one["text"]) for one in response.json()["results"]
        ]
    return Outcome(measured(questions, found), latencies)


def _report(read: QuestionSet, outcomes: Mapping[str, Outcome]) -> str:
    values = outcomes[LEGS["hybrid"]].values
    names = [name for name in values if name != CHARACTERS]
    rows = [[name, *_cells(outcome, names)] for name, outcome in outcomes.items()]
    differences = [
        [name, leg, *(beside(outcome.values[one], outcomes[leg].values[one]) for one in names)]
        for name, outcome in outcomes.items()
        if outcome.latencies
        for leg in [LEGS.get(name, LEGS["hybrid"])]
    ]
    return "\n\n".join([
        f"### {read.name}: {len(values[CHARACTERS])} questions, {len(read.documents)} documents, {K} passages each",
        table(["", *names, CHARACTERS, "p50 ms", "p95 ms"], rows),
        "Differences to the yardstick, with 95 % intervals (paired bootstrap over the questions):",
        table(["", "beside", *names], differences),
    ])  # fmt: skip


def _cells(outcome: Outcome, names: Sequence[str]) -> list[str]:
    means = _means(outcome.values)
    times = [f"{percentile(outcome.latencies, share):.1f}" if outcome.latencies else "" for share in (0.5, 0.95)]
    return [*(f"{means[name]:.3f}" for name in names), f"{means[CHARACTERS]:.0f}", *times]


def _means(values: Values) -> dict[str, float]:
    return {name: round(sum(these) / max(1, len(these)), 4) for name, these in values.items()}
