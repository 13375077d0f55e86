"""What `/health` takes while plug-ins sleep, compute, or pretend to be async."""

from __future__ import annotations

import argparse
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from benchmarks.figures import percentile, table
from benchmarks.laboratory import open_laboratory
from benchmarks.query import ingest

KINDS = {"sleeping": "Sleeping", "pretending": "Pretending", "computing": "Computing"}
DOCUMENTS = [f"Note {number}: the ferry of Ostrava leaves at {number} o'clock." for number in range(20)]
LOOKS_A_SECOND = 50
AIMS = {"nothing": 50, "sleeping": 50, "pretending": 50, "computing": 250}


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    engines = {name: f"benchmarks.slow_plug_ins.{kind}" for name, kind in KINDS.items()}
    with open_laboratory(options.folder) as laboratory:
        ingest(laboratory, DOCUMENTS)
        plugged_in = {"PLUG_INS__ENGINES": json.dumps(engines), "LLM__PROVIDER": "extractive"}
        with laboratory.serving("server", **plugged_in) as url:
            rows = [[name, *_looked(url, name, seconds=options.seconds)] for name in ("nothing", *KINDS)]
    return table(["4 clients ask", "/health answers", "p50 ms", "p95 ms", "longest ms", "aim, p95 ms"], rows)


def _looked(url: str, mode: str, *, seconds: float) -> list[object]:
    """Look at `/health` while four clients ask a plug-in without a pause."""
    stopped = threading.Event()
    with ThreadPoolExecutor(4) as asking, httpx.Client(base_url=url, timeout=60) as http:
        clients = [asking.submit(_asked, url, mode, stopped) for _ in range(4) if mode != "nothing"]
        time.sleep(0.5)
        times, started = [], time.perf_counter()
        while (at := time.perf_counter()) < started + seconds:
            http.get("/health").raise_for_status()
            times.append((time.perf_counter() - at) * 1000)
            time.sleep(max(0.0, at + 1 / LOOKS_A_SECOND - time.perf_counter()))
        stopped.set()
        for client in clients:
            client.result()
    return [len(times), percentile(times, 0.5), percentile(times, 0.95), max(times), AIMS[mode]]


def _asked(url: str, mode: str, stopped: threading.Event) -> None:
    with httpx.Client(base_url=url, timeout=60) as http:
        while not stopped.is_set():
            http.post("/retrieve", json={"question": "When does the ferry leave?", "mode": mode}).raise_for_status()
