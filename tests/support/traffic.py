"""What people, and faults, do to a server: everything that a dashboard shows, in some seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import httpx
import psycopg2
from support.events import parse
from support.model_server import Reply
from support.programs import run
from support.sql import execute
from support.stack import PATIENCE, Stack

from config.settings import DatabaseSettings
from storage.collections.collections import Collections
from storage.database import Database
from storage.generation import Chunking

QUESTION = {"question": "Who built the lighthouse of Ostrava Bay?"}
MESSAGE = {"message": "Who built the lighthouse of Ostrava Bay?"}
EMPTY = "empty"
"""A collection with nothing in it."""


class Traffic:
    """Asks one server.

    Attributes:
        http: a client of it; what it is answered is for tests to look at.

    """

    def __init__(self, stack: Stack, url: str) -> None:
        self._stack = stack
        self.http = httpx.Client(base_url=url, timeout=PATIENCE)

    def well(self) -> None:
        """Ask in every way, and be answered."""
        self._stack.fresh(default=Reply("The engineer Milada Novak built it [1].", delay=0.02))
        self._post("/query", QUESTION)
        self._post("/retrieve", QUESTION)
        self._post("/query", {**QUESTION, "mode": "keyword"})
        answer = self._post("/chat", MESSAGE)
        self._post("/chat", {"message": "And when?", "conversation_id": answer["conversation_id"]})
        self._post(
            "/v1/chat/completions", {"model": "footnote/default", "messages": [{"role": "user", "content": "Who?"}]}
        )
        assert parse(self.http.post("/query/stream", json=QUESTION).text)[-2].name == "done"
        for rating in ("up", "down"):
            rated = self._post("/query", QUESTION)["trace_id"]
            self.http.post("/feedback", json={"trace_id": rated, "rating": rating}).raise_for_status()

    def again(self, key: str) -> None:
        """Ask twice with an idempotency key: the second answer is the first."""
        for _ in range(2):
            self.http.post("/chat", json=MESSAGE, headers={"Idempotency-Key": key}).raise_for_status()

    def in_vain(self) -> None:
        """Ask for what is not there."""
        assert self._post("/query", {**QUESTION, "collection": EMPTY})["finish_reason"] == "no_context"
        assert self.http.post("/query", json={**QUESTION, "collection": "missing"}).status_code == 404

    def of_a_failing_model(self, times: int = 1) -> None:
        """Ask while the model answers with errors; in a stream, it fails after some tokens."""
        self._stack.fresh(default=Reply(fault="server-error"))
        for _ in range(times):
            assert self.http.post("/query", json=QUESTION).status_code in {502, 503}
        self._stack.fresh(default=Reply(fault="cut"))
        for _ in range(times):
            assert "event: error" in self.http.post("/query/stream", json=QUESTION).text
        self._stack.fresh()

    def and_leave(self) -> None:
        """Begin to read a stream of a slow model, and go away."""
        self._stack.fresh(default=Reply("one two three four five six seven eight", delay=0.3))
        self.leave(1)
        self._stack.fresh()

    def leave(self, times: int) -> None:
        """Begin to read streams, at once, and go away."""

        def one(_: int) -> None:
            with self.http.stream("POST", "/query/stream", json=QUESTION) as response:
                next(response.iter_text())

        with ThreadPoolExecutor(times) as pool:
            list(pool.map(one, range(times)))

    @contextlib.contextmanager
    def asking(self, at_once: int) -> Iterator[None]:
        """Let so many people ask, again and again, while the block runs; what they are answered is all the same."""
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                self._retrieve()

        with ThreadPoolExecutor(at_once) as pool:
            asked = [pool.submit(ask) for _ in range(at_once)]
            try:
                yield
            finally:
                over.set()
        for each in asked:
            each.result()

    def ask_much(self) -> None:
        """Ask for passages, many times."""
        for _ in range(50):
            self._retrieve().raise_for_status()

    def in_front_of_a_lock(self, requests: int) -> list[int]:
        """Ask, all at once, while somebody holds the tables of all chunks; return the statuses."""
        with locked(self._stack), ThreadPoolExecutor(requests) as pool:
            return [each.status_code for each in pool.map(lambda _: self._retrieve(), range(requests))]

    def close(self) -> None:
        """Close the client."""
        self.http.close()

    def _retrieve(self) -> httpx.Response:
        return self.http.post("/retrieve", json=QUESTION)

    def _post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.text}"
        return dict(answer.json())


@contextlib.contextmanager
def traffic(stack: Stack, url: str) -> Iterator[Traffic]:
    """Lend somebody who asks a server."""
    opened = Traffic(stack, url)
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Hold the tables of all chunks, as a migration or a forgotten transaction does."""
    tables = [
        name
        for (name,) in stack.rows(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'footnote' AND tablename ~ '^data_'"
        )
    ]
    assert tables
    connection = psycopg2.connect(stack.dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(f'footnote.{name}' for name in tables)} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        connection.close()


@contextlib.contextmanager
def database_gone(stack: Stack) -> Iterator[None]:
    """Take the database away from everybody, and give it back."""
    others = stack.dsn.replace(f"/{stack.database}?", "/postgres?")
    execute(others, f"ALTER DATABASE {stack.database} ALLOW_CONNECTIONS false")
    try:
        execute(others, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", stack.database)
        yield
    finally:
        execute(others, f"ALTER DATABASE {stack.database} ALLOW_CONNECTIONS true")


def add_empty_collection(stack: Stack) -> None:
    """Make the collection that has nothing in it."""
    with ThreadPoolExecutor(1) as pool:  # this thread's event loop is pytest's
        pool.submit(copy_context().run, asyncio.run, _make_empty(stack)).result()


async def _make_empty(stack: Stack) -> None:
    database = await Database.open(stack.dsn, settings=DatabaseSettings())
    chunking = Chunking(tokens=256, overlap=32, language="english")
    await Collections(database).ensure(EMPTY, embedding=stack.embedder.identity, chunking=chunking)
    await database.close()


def ingest(stack: Stack, *paths: Path, endpoint: str, collection: str = "ingested") -> subprocess.CompletedProcess[str]:
    """Run ``python -m ingestion`` for real, with the receiver of its telemetry."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    settings = {"DATABASE__URL": stack.dsn, "DATA_DIR": str(stack.data_dir), "TELEMETRY__ENDPOINT": endpoint}
    return run(
        ["-m", "ingestion", *paths, "--collection", collection],
        env=clean | {f"FOOTNOTE_{name}": value for name, value in settings.items()},
        timeout=PATIENCE * 6,
    )
