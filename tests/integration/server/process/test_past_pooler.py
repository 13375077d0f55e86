"""``python -m server``, its workers and ``python -m ingestion`` behind a real PgBouncer, in its modes, under load."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from support.model_server import Reply
from support.pgbouncer import start_pgbouncer
from support.programs import run
from support.stack import PATIENCE, Stack, open_stack, until

pytestmark = pytest.mark.timeout(300)

QUESTION = {"question": "When is the lamp lit?", "k": 2}
RATE, SECONDS = 30, 6
"""Requests a second, and for how long."""


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as made:
        made.fresh(default=Reply("At dusk [1]."))
        yield made


@pytest.mark.parametrize(("mode", "pool"), [("session", 40), ("transaction", 4)])
def test_everything_works_past_a_pooler(stack, mode, pool, tmp_path):
    with start_pgbouncer(stack.dsn, mode=mode, options={"default_pool_size": pool}) as pgbouncer:
        direct = {"DATABASE__DIRECT_URL": stack.dsn} if mode == "transaction" else {}
        env = {"DATABASE__URL": pgbouncer.url(stack.dsn), "JOBS__WORKER": "always", **direct}
        env |= {"SERVER__MAX_WAIT": "60", "DATABASE__ACQUIRE_TIMEOUT": "60"}  # a busy machine is no failure
        with (
            stack.process(program=("-m", "server"), forked=False, SERVER__WORKERS="2", **env) as process,
            httpx.Client(
                base_url=process.url, timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0)
            ) as http,
        ):
            ready = http.get("/ready").raise_for_status().json()["dependencies"]["connections"]
            assert ready["ok"], ready
            assert f"({mode} mode)" in ready["detail"]
            job = _uploaded(http, "tide.md", "# Tides\n\nThe ferry waits for high water at Ostrava Bay.")
            found = http.post("/retrieve", json={"question": "What does the ferry wait for?", "k": 1}).text
            assert "high water" in found, job
            turn = http.post("/chat", json={"message": "When is the lamp lit?"}).raise_for_status().json()
            http.post(
                "/chat", json={"message": "And then?", "conversation_id": turn["conversation_id"]}
            ).raise_for_status()

            folder = tmp_path / "docs"
            folder.mkdir()
            (folder / "bell.md").write_text("# Bell\n\nThe bell rings in fog.")
            before = http.get("/collections/default").json()["generation"]
            clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
            built = run(
                ["-m", "ingestion", folder, "--reindex"],
                env=clean
                | {f"FOOTNOTE_{name}": value for name, value in env.items()}
                | {"FOOTNOTE_DATA_DIR": str(stack.data_dir)},
                timeout=PATIENCE * 2,
            )
            assert built.returncode == 0, built.stderr
            until(lambda: http.post("/query", json=QUESTION).json()["generation"] != before)
            http.post("/collections/default/activate", json={"generation": before}).raise_for_status()
            until(lambda: http.post("/query", json=QUESTION).json()["generation"] == before)

            assert _under_load(process.url) == Counter({200: RATE * SECONDS * 9 // 10, 202: RATE * SECONDS // 10})
            http.get("/ready").raise_for_status()
            process.log.seek(0)
            told = process.log.read()
            assert "Traceback" not in told
            assert '"level":"error"' not in told.replace(" ", "")


def _uploaded(http: httpx.Client, name: str, text: str) -> dict[str, Any]:
    response = http.post("/documents", files={"file": (name, text)}).raise_for_status()

    def done() -> dict[str, Any] | None:
        job = dict(http.get(response.headers["location"]).raise_for_status().json())
        assert job["status"] != "failed", job
        return job if job["status"] == "succeeded" else None

    return dict(until(done))


def _under_load(url: str) -> Counter[int]:
    """Ask at a fixed rate, whatever the answers take; return how often each status came."""
    numbers, lock, statuses = itertools.count(), threading.Lock(), Counter[int]()
    started = time.monotonic()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE) as http:
            while (number := next(numbers)) < RATE * SECONDS:
                time.sleep(max(0.0, started + number / RATE - time.monotonic()))
                if number % 10 == 0:
                    file = {"file": (f"{number}.md", f"# Note {number}\n\nWritten on page {number}.")}
                    status = http.post("/documents", files=file).status_code
                elif number % 10 == 1:
                    status = http.post("/chat", json={"message": "When is the lamp lit?"}).status_code
                else:
                    status = http.post("/query", json=QUESTION).status_code
                with lock:
                    statuses[status] += 1

    with ThreadPoolExecutor(16) as pool:
        for each in [pool.submit(ask) for _ in range(16)]:
            each.result()
    return statuses
