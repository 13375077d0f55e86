"""A guard against getting slower: three ratios over Footnote's own documentation, each with a floor.

Two minutes; below a floor, or with a failed request, `BelowFloor` ends the program with 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.corpus import questions, short_documents
from benchmarks.figures import BelowFloor, median, table
from benchmarks.ingestion import one
from benchmarks.laboratory import ROOT, open_laboratory
from benchmarks.load import Outcome
from benchmarks.query import OURS, QUESTIONS, measured, p50, rate, serving

DOCUMENTS = 200
PAGES = 12
ROUNDS = 3
SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Guarded:
    """A ratio that must not fall; the larger the better."""

    name: str
    ratio: float
    floor: float


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures.

    Raises:
        BelowFloor: a ratio is.

    """
    pages = sorted((ROOT / "docs").rglob("*.md"))
    with open_laboratory(options.folder) as laboratory:
        documents = short_documents(pages, count=DOCUMENTS)
        options.rounds, options.seconds, options.clients = ROUNDS, SECONDS, [1, 16]
        with serving(laboratory, documents) as urls:
            outcomes = measured(laboratory, urls, questions(documents, count=QUESTIONS), options)
        read = "\n".join(map(str, pages[:: max(1, len(pages) // PAGES)]))
        ingested = {kind: one(laboratory, kind, read) for kind in ("pipeline", "stock-256")}
    failures = [failure for runs in outcomes.values() for outcome in runs for failure in outcome.failures]
    ours, theirs = ({clients: outcomes[clients, name] for clients in (1, 16)} for name in (OURS, "tutorial"))
    guarded = [
        Guarded("tutorial's p50 / ours, one client", _ratio(theirs[1], ours[1], p50), 1.2),
        Guarded("our requests/s / the tutorial's, 16 clients", _ratio(ours[16], theirs[16], rate), 2.0),
        Guarded(
            "our chunks/s / those of LlamaIndex's pipeline",
            (ingested["pipeline"].chunks / ingested["pipeline"].seconds)
            / (ingested["stock-256"].chunks / ingested["stock-256"].seconds),
            1.0,
        ),
    ]
    report = table(["", "ratio", "floor"], [[each.name, each.ratio, each.floor] for each in guarded])
    if failures or any(each.ratio < each.floor for each in guarded):
        msg = f"{report}\n\nfailed requests: {len(failures)} {sorted(set(failures))}"
        raise BelowFloor(msg)
    return report


def _ratio(above: list[Outcome], below: list[Outcome], figure: Callable[[Outcome], float]) -> float:
    return median(figure(one) / figure(other) for one, other in zip(above, below, strict=True))
