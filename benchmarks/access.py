"""What authentication and row-level security cost ``/retrieve``: none of it, the policies alone, both.

One database and three servers of one process each, without a language model; the third asks for a key. The policies of
all tables are switched off while the first is asked. A turn asks each the same questions. What is counted is the time
of processors, the server's and PostgreSQL's: it holds on a machine that others use too. Transactions, which row-level
security needs and which were not there before it, are in all three.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import psycopg2

from benchmarks.corpus import manual_pages, questions, short_documents
from benchmarks.effort import Meter
from benchmarks.figures import median, percentile, table
from benchmarks.laboratory import Laboratory, last_json, open_laboratory
from benchmarks.load import Outcome
from benchmarks.query import DOCUMENTS, ingest

OFF, POLICIES, KEY = "nothing", "row-level security", "row-level security and a key"
CLIENTS = 4
WARMING = 3.0
SETTINGS = {"SERVER__WORKERS": "1", "LLM__PROVIDER": "extractive", "JOBS__WORKER": "never"}


@dataclass(frozen=True, slots=True)
class Side:
    """A server, and the key that it is asked with."""

    url: str
    process: psutil.Process
    key: str = ""

    def cpu(self) -> float:
        """Return the seconds that its process has used the processors for."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(slots=True)
class Cost:
    """Of each turn: milliseconds of processors a question, and the median latency."""

    cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    documents = short_documents(manual_pages(options.manual), count=DOCUMENTS)
    asked = questions(documents, count=2000)
    with open_laboratory(options.folder) as laboratory:
        ingest(laboratory, documents)
        return _report(_measured(laboratory, asked, options))


def _measured(laboratory: Laboratory, asked: Sequence[str], options: argparse.Namespace) -> Mapping[str, Cost]:
    costs: dict[str, Cost] = defaultdict(Cost)
    made = laboratory.run("server", "keys", "create", "--name", "benchmark", "--scopes", "query", "--json")
    key = last_json(made)["key"]
    with ExitStack() as kept:
        off = Side(kept.enter_context(laboratory.serving("server", **SETTINGS, AUTH__MODE="off")), _started_last())
        on = Side(kept.enter_context(laboratory.serving("server", **SETTINGS, AUTH__MODE="required")), _started_last())
        sides = {OFF: off, POLICIES: off, KEY: replace(on, key=key)}

        def ask(name: str, seconds: float) -> Outcome:
            side = sides[name]
            body: dict[str, Any] = {"questions": asked, "mode": "vector"}
            return laboratory.load(f"{side.url}/retrieve", clients=CLIENTS, seconds=seconds, key=side.key, **body)

        for name in sides:
            ask(name, WARMING)
        for turn in range(options.rounds):
            for name in reversed(sides) if turn % 2 else sides:
                with _policies(laboratory.url, is_on=name != OFF):
                    meter, before = Meter(laboratory.url), sides[name].cpu()
                    outcome = ask(name, options.seconds)
                    cpu = sides[name].cpu() - before + meter.read().postgres
                if outcome.failures:
                    msg = f"{name}: {outcome.failures[0]}"
                    raise RuntimeError(msg)
                costs[name].cpu.append(cpu * 1000 / len(outcome.latencies))
                costs[name].p50.append(percentile(outcome.latencies, 0.5) or 0.0)
    return costs


def _started_last() -> psutil.Process:
    return max(psutil.Process().children(), key=lambda each: float(each.create_time()))


@contextmanager
def _policies(url: str, *, is_on: bool) -> Iterator[None]:
    """Let the policies of all tables hold, or not."""
    _switch(url, "ENABLE" if is_on else "DISABLE")
    try:
        yield
    finally:
        _switch(url, "ENABLE")


def _switch(url: str, action: str) -> None:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT format('ALTER TABLE %%I.%%I %%s ROW LEVEL SECURITY', schemaname, tablename, %s) "
                "FROM pg_policies WHERE schemaname = 'footnote'",
                (action,),
            )
            for (statement,) in cursor.fetchall():
                cursor.execute(statement)
    finally:
        connection.close()


def _report(costs: Mapping[str, Cost]) -> str:
    rows: list[list[object]] = []
    for name, cost in costs.items():
        ratios = [ours / bare for ours, bare in zip(cost.cpu, costs[OFF].cpu, strict=True)]
        slower = [ours / bare for ours, bare in zip(cost.p50, costs[OFF].p50, strict=True)]
        rows.append([name, median(cost.cpu), median(ratios), median(cost.p50), median(slower)])
    return table(["with", "CPU ms a question", "as a ratio", "p50 ms", "as a ratio"], rows)
