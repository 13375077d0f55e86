"""How long the server's event loop stands still while another process ingests."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import httpx

from benchmarks.corpus import manual_pages, questions, short_documents
from benchmarks.figures import percentile, table
from benchmarks.laboratory import Laboratory, open_laboratory
from benchmarks.query import DOCUMENTS, ingest

A_SECOND = 5  # questions
AIM = 50.0  # milliseconds


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    pages = [str(page.resolve()) for page in manual_pages(options.manual, every=options.every)]
    documents = short_documents(manual_pages(options.manual), count=DOCUMENTS)
    asked = questions(documents, count=2000)
    with open_laboratory(options.folder) as laboratory:
        ingest(laboratory, documents)
        with laboratory.serving("benchmarks.footnote_app", "--stalls", LLM__PROVIDER="extractive") as url:
            quiet = _watch(url, asked, laboratory, pages=[], seconds=20)
            busy = _watch(url, asked, laboratory, pages=pages, seconds=600)
    return table(
        [
            "",
            "seconds",
            "questions",
            "p50 ms",
            "p95 ms",
            "longest stall ms",
            "of it on the CPU",
            f"stalls over {AIM:g} ms",
        ],
        [["nothing else", *quiet], ["while a process ingests", *busy]],
    )


def _watch(url: str, asked: list[str], laboratory: Laboratory, *, pages: list[str], seconds: float) -> list[object]:
    """Ask while the pages are ingested, or for so many seconds."""
    ingesting = _ingest(laboratory, pages) if pages else None
    times = []
    with httpx.Client(base_url=url, timeout=60) as http:
        http.get("/benchmark/stalls")
        started = time.perf_counter()
        for number, question in enumerate(asked * 2):
            wait = started + number / A_SECOND - time.perf_counter()
            time.sleep(max(0.0, wait))
            before = time.perf_counter()
            http.post("/query", json={"question": question}).raise_for_status()
            times.append((time.perf_counter() - before) * 1000)
            if time.perf_counter() - started > seconds or (ingesting and ingesting.poll() is not None):
                break
        took = time.perf_counter() - started
        stalls = http.get("/benchmark/stalls").json()
    if ingesting:
        ingesting.terminate()
        ingesting.wait()
    over = sum(late > AIM for late in stalls["late"])
    return [
        took,
        len(times),
        percentile(times, 0.5),
        percentile(times, 0.95),
        stalls["late"][0],
        stalls["busy"][0],
        over if over < len(stalls["late"]) else f"{over} or more",
    ]


def _ingest(laboratory: Laboratory, pages: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ingestion", *pages, "--collection", f"stalls-{int(time.time())}", "--json"],
        cwd=laboratory.folder,
        env=laboratory.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
