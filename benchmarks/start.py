"""How long the commands take to start, beside importing LlamaIndex in the same round, and what memory they take then.

The embedding model's export is there, as it is from the second start on, and so is the database's schema. Settings are
the defaults: the embedded PostgreSQL, a worker beside the server, the best language model at hand.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import median, table
from benchmarks.laboratory import Laboratory
from benchmarks.stream_load import processes

YARDSTICK = "import llama_index.core"
MAX_RATIO = 2.5
MAX_MB = 400
PATIENCE = 600.0
QUESTION = "What does the cat of round {} eat?"


@dataclass(frozen=True, slots=True)
class Start:
    """What a start took: seconds by the clock and of its processes' CPU, then the largest one's resident megabytes."""

    seconds: float
    cpu: float
    memory: float = 0.0


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    with tempfile.TemporaryDirectory(prefix="footnote-benchmark-") as temporary:
        Path(temporary).chmod(0o755)  # PostgreSQL runs as another user where this runs as root
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        laboratory = Laboratory(folder, "")
        for module, command in (("storage", "upgrade"), ("embedding", "export")):
            _to_its_end(laboratory, "-m", module, command)
        found: dict[str, list[Start]] = {}
        for number in range(options.rounds):
            document = laboratory.folder / "cats" / f"cat-{number}.md"
            document.parent.mkdir(exist_ok=True)
            document.write_text(f"# Cat {number}\n\nThe cat of round {number} eats {number + 2} fish a day.\n")
            found.setdefault(YARDSTICK, []).append(_to_its_end(laboratory, "-c", YARDSTICK))
            for name, start in _server(laboratory, document).items():
                found.setdefault(name, []).append(start)
            found.setdefault("python -m ingestion worker", []).append(_worker(laboratory))
            ingestion = _to_its_end(laboratory, "-m", "ingestion", str(document))
            found.setdefault("python -m ingestion one-file.md", []).append(ingestion)
    return _report(found)


def _report(found: dict[str, list[Start]]) -> str:
    yardsticks = found[YARDSTICK]
    rows = [
        [
            name,
            median(start.seconds for start in starts) or "",
            median(start.seconds / beside.seconds for start, beside in zip(starts, yardsticks, strict=True)) or "",
            median(start.cpu for start in starts) or "",
            median(start.cpu / beside.cpu for start, beside in zip(starts, yardsticks, strict=True)) or "",
            median(start.memory for start in starts) or "",
        ]
        for name, starts in found.items()
    ]
    head = ["", "seconds", "ratio", "CPU seconds", "ratio", "MB"]
    return f"{table(head, rows)}\n\nThe bounds are {MAX_RATIO} times the import, and {MAX_MB} MB a process."


def _server(laboratory: Laboratory, document: Path) -> dict[str, Start]:
    """Start a server up to ``/ready``; measure memory when it and its worker have taken in a document and answered."""
    with _started(laboratory, "-m", "server") as (process, began):
        line = process.stdout.readline().decode() if process.stdout else ""
        url = next(word for word in line.split() if word.startswith("http://"))
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            client.get("/ready").raise_for_status()
            ready = Start(time.perf_counter() - began, _cpu(process.pid))
            with document.open("rb") as file:
                job = client.post("/documents", files={"file": (document.name, file)}).raise_for_status().json()
            client.get(f"/jobs/{job['job_id']}/events").raise_for_status()  # to its end
            question = {"question": QUESTION.format(document.stem.partition("-")[2])}
            client.post("/query", json=question).raise_for_status()
            worker = next(each for each in psutil.Process(process.pid).children() if "ingestion" in each.cmdline())
            return {
                "python -m server, to /ready": replace(ready, memory=_largest(process.pid)),
                "its worker, a document later": Start(0, 0, _memory(worker.pid)),
            }


def _worker(laboratory: Laboratory) -> Start:
    with _started(laboratory, "-m", "ingestion", "worker", quiet=False) as (process, began):
        for line in process.stderr or ():
            if json.loads(line).get("event") == "worker ready":
                return Start(time.perf_counter() - began, _cpu(process.pid), _memory(process.pid))
    msg = "the worker did not start"
    raise RuntimeError(msg)


def _to_its_end(laboratory: Laboratory, *arguments: str) -> Start:
    before = psutil.Process().cpu_times()
    with _started(laboratory, *arguments) as (process, began):
        if process.wait(PATIENCE):
            msg = f"{' '.join(arguments)} failed; the log is in {laboratory.folder}"
            raise RuntimeError(msg)
        seconds = time.perf_counter() - began
    after = psutil.Process().cpu_times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Start(seconds, used)


@contextlib.contextmanager
def _started(
    laboratory: Laboratory, *arguments: str, quiet: bool = True
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    environment = laboratory.environment()
    del environment["FOOTNOTE_DATABASE__URL"]  # each program starts the embedded server, as it does where none is named
    with (laboratory.folder / "start.log").open("ab") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=log if quiet else subprocess.PIPE,
            cwd=laboratory.folder,
            env=environment,
        )
        try:
            yield process, began
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def _cpu(pid: int) -> float:
    """Return what it and the processes that it started used; PostgreSQL's are left out."""
    times = [each.cpu_times() for each in processes(pid)]
    return float(sum(each.user + each.system for each in times))


def _largest(pid: int) -> float:
    return max(_memory(each.pid) for each in processes(pid) if "ingestion" not in each.cmdline())


def _memory(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20
