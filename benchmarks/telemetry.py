"""What telemetry costs: the same server without it, with all of it, and with one trace in a hundred.

Three servers as ``python -m server`` runs them, over one database, with the real embedding model and a model server
that answers at once; an OTLP receiver in a process of its own takes what is sent. A round asks each the same number of
questions, a few in turn, so that the machine's moods are the same for all of them, and has servers of its own: two
processes of the same program differ by a few percent for as long as they live. What is counted is the CPU time of the
server's process, its exporters' threads included, until a while after the round's last answer: batches are sent
meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice

import httpx
import psutil

from benchmarks.corpus import manual_pages, questions, short_documents
from benchmarks.figures import median, percentile, table
from benchmarks.laboratory import Laboratory, open_laboratory
from benchmarks.paced_model import Pace
from benchmarks.query import DOCUMENTS, ingest
from benchmarks.stream_load import processes

INSTANT = Pace(rate=1e6, tokens=20)
CLIENTS = 4
STINTS, STINT = 12, 20  # of a round; questions of one
ROUND = STINTS * STINT
WARMING = 100  # questions of each kind
SENT_AFTER = 1.5  # seconds after which spans have been sent
SETTLED = 2_000  # questions after which memory is looked at
STEP = 1_000  # questions between two looks
SCRAPES = 30
PING = 0.002  # seconds between two requests for /health

OFF, SAMPLED, ON = "off", "one trace in a hundred", "every trace"
SETTINGS: Mapping[str, Mapping[str, str]] = {
    OFF: {"TELEMETRY__ENABLED": "false"},
    SAMPLED: {"TELEMETRY__SAMPLE_RATIO": "0.01"},
    ON: {},
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to ask."""

    path: str
    body: Mapping[str, object]


KINDS = {
    "`/query`": Kind("/query", {}),
    "`/query/stream`": Kind("/query/stream", {}),
    '`/query`, `"mode": "keyword"`': Kind("/query", {"mode": "keyword"}),
}


@dataclass(slots=True)
class Cost:
    """What a server needed for a round.

    Attributes:
        cpu: milliseconds of its processors for a question.
        latencies: milliseconds.

    """

    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a server's processes hold, in MiB; PostgreSQL's are left out.

    Attributes:
        resident: all of it that is in memory.
        own: of that, what it wrote; pages of files come and go as the kernel likes (Linux tells them apart).

    """

    resident: float
    own: float


@dataclass(slots=True)
class Side:
    """A server that is asked."""

    client: httpx.Client
    process: psutil.Process
    asked: Iterator[str]
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(CLIENTS))

    def ask(self, kind: Kind, *, count: int) -> list[float]:
        """Ask that many questions, a few at a time; return how long each answer took, in milliseconds."""
        return list(self.threads.map(lambda question: self._answer(kind, question), islice(self.asked, count)))

    def cpu(self) -> float:
        """Return the seconds that its processes have used the processors for."""
        times = [each.cpu_times() for each in processes(self.process.pid)]
        return float(sum(each.user + each.system for each in times))

    def memory(self) -> Memory:
        """Return what its processes hold."""
        infos = [each.memory_info() for each in processes(self.process.pid)]
        resident = sum(info.rss for info in infos)
        return Memory(resident / 2**20, (resident - sum(getattr(info, "shared", 0) for info in infos)) / 2**20)

    def scrape(self) -> float:
        """Read the metrics as Prometheus does; return the milliseconds it took."""
        started = time.perf_counter()
        self.client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        ).raise_for_status()
        return (time.perf_counter() - started) * 1000

    def slowest_ping(self, *, seconds: float) -> float:
        """Return the milliseconds of the slowest of some requests, one after the other, for ``/health``."""
        slowest, until = 0.0, time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            self.client.get("/health").raise_for_status()
            slowest = max(slowest, time.perf_counter() - started)
            time.sleep(PING)
        return slowest * 1000

    def _answer(self, kind: Kind, question: str) -> float:
        started = time.perf_counter()
        answer = self.client.post(kind.path, json={"question": question, **kind.body}).raise_for_status()
        if kind.path.endswith("stream") and "event: done" not in answer.text:
            msg = f"a stream broke: {answer.text[-300:]}"
            raise RuntimeError(msg)
        return (time.perf_counter() - started) * 1000


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    documents = short_documents(manual_pages(options.manual), count=DOCUMENTS)
    asked = questions(documents, count=2000)
    rounds: dict[str, list[Mapping[str, Cost]]] = {name: [] for name in KINDS}
    with open_laboratory(options.folder) as laboratory:
        ingest(laboratory, documents)
        for _ in range(options.rounds):
            with _three(laboratory, asked=asked) as sides:
                for name, kind in KINDS.items():
                    rounds[name].append(_round(sides, kind))
        with _three(laboratory, asked=asked) as sides:
            rest = [_scrapes(sides[ON])]
            if options.queries:
                rest.append(_memory(sides, count=options.queries))
    return "\n\n".join([*(_costs(name, rounds[name]) for name in KINDS), *rest])


@contextmanager
def _three(laboratory: Laboratory, *, asked: Sequence[str]) -> Iterator[dict[str, Side]]:
    """Start the servers, and have each answer what pays for what is made once."""
    with ExitStack() as stack:
        model = stack.enter_context(laboratory.serving("benchmarks.paced_model"))
        httpx.post(model.removesuffix("/v1") + "/pace", json=asdict(INSTANT)).raise_for_status()
        receiver = stack.enter_context(laboratory.serving("benchmarks.otlp_receiver"))
        common = {"LLM__PROVIDER": "openai_like", "LLM__MODEL": "paced", "LLM__BASE_URL": model, "LLM__API_KEY": "none",
                  "TELEMETRY__ENDPOINT": receiver}  # fmt: skip
        sides = {}
        for name, settings in SETTINGS.items():
            others = set(psutil.Process().children())
            url = stack.enter_context(laboratory.serving("server", **{**common, **settings}))
            (process,) = set(psutil.Process().children()) - others
            sides[name] = Side(stack.enter_context(httpx.Client(base_url=url, timeout=60)), process, cycle(asked))
        for side in sides.values():
            for kind in KINDS.values():
                side.ask(kind, count=WARMING)
        yield sides


def _round(sides: Mapping[str, Side], kind: Kind) -> Mapping[str, Cost]:
    costs = {name: Cost() for name in sides}
    before = {name: side.cpu() for name, side in sides.items()}
    names = list(sides)
    for number in range(STINTS):
        first = number % len(names)  # each is first, second and last in turn
        for name in names[first:] + names[:first]:
            costs[name].latencies += sides[name].ask(kind, count=STINT)
    time.sleep(SENT_AFTER)
    for name, cost in costs.items():
        cost.cpu = (sides[name].cpu() - before[name]) / ROUND * 1000
    return costs


def _costs(kind: str, rounds: Sequence[Mapping[str, Cost]]) -> str:
    rows: list[list[object]] = []
    for name in SETTINGS:
        costs = [each[name] for each in rounds]
        more = [each[name].cpu - each[OFF].cpu for each in rounds]
        shares = [100 * extra / each[OFF].cpu for extra, each in zip(more, rounds, strict=True)]
        rows.append([
            name,
            median(cost.cpu for cost in costs),
            *([""] * 4 if name == OFF else [1000 * median(more), min(shares), median(shares), max(shares)]),
            median(percentile(cost.latencies, 0.5) for cost in costs),
            median(percentile(cost.latencies, 0.95) for cost in costs),
        ])  # fmt: skip
    head = ["traces", "CPU ms each", "more, µs", "more, % in the least round", "the median", "the most", "p50 ms",
            "p95 ms"]  # fmt: skip
    return f"{kind}, {len(rounds)} rounds of {ROUND} each, {CLIENTS} at a time:\n\n" + table(head, rows)


def _scrapes(side: Side) -> str:
    """Measure what reading the metrics of a busy server's labels takes, and how much longer a ping takes meanwhile."""
    before, quiet, beside = side.cpu(), [], []
    scraped = [side.scrape() for _ in range(SCRAPES)]
    cpu = (side.cpu() - before) / SCRAPES * 1000
    seconds = max(0.05, 2 * median(scraped) / 1000)
    for _ in range(SCRAPES):
        quiet.append(side.slowest_ping(seconds=seconds))
        scrape = side.threads.submit(side.scrape)
        beside.append(side.slowest_ping(seconds=seconds))
        scrape.result()
    size = len(side.client.get("/metrics").content) / 1024
    row = [median(scraped), percentile(scraped, 0.95), cpu, size, median(quiet), median(beside)]
    head = ["p50 ms", "p95 ms", "CPU ms", "KiB", "slowest ping without, ms", "with"]
    return f"`/metrics`, read {SCRAPES} times:\n\n" + table(head, [row])


def _memory(sides: Mapping[str, Side], *, count: int) -> str:
    """Watch the memory of two servers while they answer."""
    seen: dict[str, list[Memory]] = {OFF: [], ON: []}
    for name in seen:
        sides[name].ask(KINDS["`/query`"], count=SETTLED)
    for _ in range(count // STEP):
        for name, looks in seen.items():
            looks.append(sides[name].memory())
            sides[name].ask(KINDS["`/query`"], count=STEP)
    rows: list[list[object]] = []
    for name, looks in seen.items():
        looks.append(sides[name].memory())
        own = [look.own for look in looks]
        rows.append([
            name, looks[0].resident, looks[-1].resident, own[0], own[-1], max(own), _slope(own),
            _slope(own[len(own) // 2 :]),
        ])  # fmt: skip
    head = ["traces", "RSS MiB, first", "last", "its own MiB, first", "last", "most", "KiB more a 1,000 queries",
            "in the second half"]  # fmt: skip
    return f"Memory of the process over {count} queries, after {SETTLED} more:\n\n" + table(head, rows)


def _slope(sizes: Sequence[float]) -> float:
    return float(statistics.linear_regression(range(len(sizes)), sizes).slope) * 1024
