"""Streams: what Footnote adds to a model's own, beside the least that streams a model (`benchmarks.bare_stream_app`).

The model's server sends at a fixed pace, and writes into each token when it was sent. Client, model, bare app and
Footnote are processes of their own; what Footnote takes is that of all of its processes, PostgreSQL's left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import httpx
import psutil

from benchmarks.corpus import manual_pages, questions, short_documents
from benchmarks.figures import median, percentile, table
from benchmarks.laboratory import Laboratory, open_laboratory
from benchmarks.paced_model import Pace
from benchmarks.query import DOCUMENTS, ingest
from benchmarks.stream_load import SETTLE, First, Outcome, Workload, processes

RATE = 30.0  # tokens a second
ANSWER = 200  # tokens
STREAMS = (50, 200)
BEGINNING = 50
HELD = (100, 400)
AT_ONCE = 500
OPENED = 15  # streams a second: what is measured is how they run, not how they begin

MODEL, BARE, SERVER = "benchmarks.paced_model", "benchmarks.bare_stream_app", "server"
DIRECT, BESIDE = "the model itself", "bare Starlette"
WAYS = {
    "Footnote, /query/stream": "/query/stream",
    "Footnote, /chat/stream": "/chat/stream",
    "Footnote, /v1/chat/completions": "/v1/chat/completions",
}
Runs = Mapping[str, Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Side:
    """Something that streams, and the process that does it."""

    url: str
    pid: int


class Bench:
    """Loads the sides with streams of the model's."""

    def __init__(self, laboratory: Laboratory, model_url: str, *, asked: Sequence[str]) -> None:
        self.laboratory = laboratory
        self.model_url = model_url
        self._asked = asked

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Start Footnote, with our model; yield its URL."""
        llm = {"PROVIDER": "openai_like", "MODEL": "paced", "BASE_URL": self.model_url, "API_KEY": "none"}
        patient = {"TOKEN_TIMEOUT": "600", "TOTAL_TIMEOUT": "600"}  # streams are held for a while
        settings = {f"LLM__{name}": value for name, value in (llm | patient).items()}
        settings["RETRIEVAL__REFUSE"] = "0"  # each question is to come to the model
        with self.laboratory.serving(SERVER, **settings) as url:
            yield url

    def load(self, side: Side, *, streams: int, ramp: float = 0, seconds: float = 0, again: bool = False) -> Outcome:
        """Open streams and read them to their ends, from a process of its own."""
        workload = Workload(side.url, self._asked, streams, ramp=ramp, seconds=seconds, again=again, pid=side.pid)
        printed = self.laboratory.run("benchmarks.stream_load", stdin=json.dumps(asdict(workload)))
        outcome = Outcome(**json.loads(printed))
        outcome.firsts = [First(**first) for first in outcome.firsts]  # type: ignore[arg-type] # dicts until now
        return outcome

    def pace(self, pace: Pace) -> None:
        """Set how the model answers from now on."""
        self._model("/pace", asdict(pace))

    def held(self) -> int:
        """Return how many answers the model holds."""
        return self._model("/held", {})["held"]

    def _model(self, path: str, body: dict[str, object]) -> dict[str, int]:
        answer: dict[str, int] = httpx.post(self.model_url.removesuffix("/v1") + path, json=body).json()
        return answer


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    documents = short_documents(manual_pages(options.manual), count=DOCUMENTS)
    with open_laboratory(options.folder) as laboratory, laboratory.serving(MODEL) as model_url:
        ingest(laboratory, documents)
        bench = Bench(laboratory, model_url, asked=questions(documents, count=2000))
        report = [_memory(bench)]
        with laboratory.serving(BARE, model_url) as bare, bench.serving() as ours:
            sides = {DIRECT: Side(f"{model_url}/chat/completions", _pid(MODEL))}
            sides |= {BESIDE: Side(f"{bare}/query/stream", _pid(BARE))}
            sides |= {name: Side(ours + path, _pid(SERVER)) for name, path in WAYS.items()}
            bench.pace(Pace(RATE, tokens=20))
            for side in sides.values():  # the first ones pay for what is made once
                bench.load(side, streams=BEGINNING)
            report += [_running(bench, sides, streams=streams, options=options) for streams in STREAMS]
            report += [_beginning(bench, sides, options), _at_once(bench, sides)]
        return "\n\n".join(report)


def _running(bench: Bench, sides: Mapping[str, Side], *, streams: int, options: argparse.Namespace) -> str:
    """Measure streams that run for long: how tokens come, and what they cost."""
    ramp = streams / OPENED
    bench.pace(Pace(RATE, tokens=int(RATE * (ramp + SETTLE + options.seconds + 1))))
    runs = _turns(
        sides, options.rounds, lambda side: bench.load(side, streams=streams, ramp=ramp, seconds=options.seconds)
    )
    rows: list[list[object]] = []
    for name, outcomes in runs.items():
        rows.append([
            name,
            median(outcome.tokens / options.seconds for outcome in outcomes),
            *_shares([outcome.delays for outcome in outcomes], 0.5, 0.99),
            *_shares([outcome.gaps for outcome in outcomes], 0.5, 0.95, 0.99),
            median(map(_cpu, outcomes)),
            median(_cpu(one) / _cpu(bare) for one, bare in zip(outcomes, runs[BESIDE], strict=True)),
            sum(len(outcome.failures) for outcome in outcomes),
        ])  # fmt: skip
    head = ["", "tokens/s", "on the way, p50 ms", "p99", "gap added, p50 ms", "p95", "p99", "CPU µs a token",
            "/ bare's", "failed"]  # fmt: skip
    return f"{streams} streams of {RATE:.0f} tokens/s that run:\n\n" + table(head, rows)


def _beginning(bench: Bench, sides: Mapping[str, Side], options: argparse.Namespace) -> str:
    """Measure first tokens, while the other streams run; each that ends is followed by another."""
    bench.pace(Pace(RATE, tokens=ANSWER))
    ramp, seconds = ANSWER / RATE, 2 * options.seconds  # they begin, and begin again, evenly
    runs = _turns(
        sides,
        options.rounds,
        lambda side: bench.load(side, streams=BEGINNING, ramp=ramp, seconds=seconds, again=True),
    )
    own = median(_total(first) for outcome in runs[DIRECT] for first in outcome.firsts)
    rows: list[list[object]] = []
    for name, outcomes in runs.items():
        firsts = [outcome.firsts for outcome in outcomes]
        rows.append([
            name,
            sum(map(len, firsts)),
            *_shares([list(map(_total, some)) for some in firsts], 0.5, 0.95),
            *_shares([[first.retrieval for first in some] for some in firsts], 0.5, 0.95),
            *_shares([[_total(first) - first.retrieval - own for first in some] for some in firsts], 0.5, 0.95),
            sum(len(outcome.failures) for outcome in outcomes),
        ])  # fmt: skip
    head = ["", "first tokens", "after, p50 ms", "p95", "of that retrieval, p50 ms", "p95", "added beside it, p50 ms",
            "p95", "failed"]  # fmt: skip
    return f"First tokens at {BEGINNING} streams, while the others run:\n\n" + table(head, rows)


def _memory(bench: Bench) -> str:
    """Measure what streams take that the model holds after twenty tokens; each on a server that has just started."""
    rows: list[list[object]] = []
    with bench.laboratory.serving(BARE, bench.model_url) as url:
        rows.append([BESIDE, *_held(bench, Side(f"{url}/query/stream", _pid(BARE)))])
    for name, path in WAYS.items():
        with bench.serving() as url:
            rows.append([name, *_held(bench, Side(url + path, _pid(SERVER)))])
    few, many = HELD
    head = ["", f"MiB with {few}", f"MiB with {many}", "KiB a stream"]
    return "Memory of the processes while streams are held open:\n\n" + table(head, rows)


def _held(bench: Bench, side: Side) -> tuple[float, float, float]:
    bench.pace(Pace(RATE, tokens=20))
    bench.load(side, streams=10)
    bench.pace(Pace(RATE, tokens=20, held=True))
    sizes: list[int] = []
    with ThreadPoolExecutor() as threads:
        loads = []
        for streams in HELD:
            more = streams - bench.held()
            loads.append(threads.submit(bench.load, side, streams=more, ramp=more / OPENED))
            while bench.held() < streams and not loads[-1].done():
                time.sleep(0.2)
            time.sleep(SETTLE)
            sizes.append(sum(each.memory_info().rss for each in processes(side.pid)))
        bench.pace(Pace())
        if failures := [failure for load in loads for failure in load.result().failures]:
            msg = f"streams failed: {Counter(failures).most_common(3)}"
            raise RuntimeError(msg)
    few, many = sizes
    return few / 2**20, many / 2**20, (many - few) / (HELD[1] - HELD[0]) / 2**10


def _at_once(bench: Bench, sides: Mapping[str, Side]) -> str:
    """Open many at the same moment: all have to end."""
    bench.pace(Pace(RATE, tokens=ANSWER))
    rows: list[list[object]] = []
    for name, side in sides.items():
        outcome = bench.load(side, streams=AT_ONCE)
        firsts = [_total(first) / 1000 for first in outcome.firsts]
        rows.append([name, outcome.ended, len(outcome.failures), *_shares([firsts], 0.5, 1.0), outcome.seconds])
    head = ["", "ended well", "failed", "first token after, p50 s", "the last", "all ended after s"]
    return f"{AT_ONCE} streams of {ANSWER} tokens, asked for at the same moment:\n\n" + table(head, rows)


def _turns(sides: Mapping[str, Side], rounds: int, measure: Callable[[Side], Outcome]) -> Runs:
    runs: dict[str, list[Outcome]] = defaultdict(list)
    for turn in range(rounds):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            runs[name].append(measure(sides[name]))
    return {name: runs[name] for name in sides}


def _shares(samples: Sequence[Iterable[float]], *shares: float) -> list[float]:
    """Return percentiles: the medians of the turns'."""
    return [median(percentile(sample, share) for sample in samples) for share in shares]


def _cpu(outcome: Outcome) -> float:
    return outcome.cpu / outcome.tokens * 1e6 if outcome.tokens else float("nan")


def _total(first: First) -> float:
    return first.asking + first.coming


def _pid(module: str) -> int:
    """Return the process id of a module that this one runs."""
    return next(child.pid for child in psutil.Process().children() if module in child.cmdline())
