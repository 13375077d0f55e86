"""A failover under load: the writer is demoted, its streaming replica is promoted behind the same address.

Connections to the old writer stay open, as they do behind most proxies; it goes on answering, read-only.
"""

import asyncio
import collections
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.databases import in_database
from support.indexed import index
from support.model_server import Reply, start_model_server
from support.replica import streaming_replica
from support.sql import execute
from support.stack import Stack, until
from support.tcp_proxy import tcp_proxy
from support.traffic import MESSAGE, QUESTION

from storage import schema_version
from storage.local import LocalPostgres

ASKING = 4


@pytest.fixture(scope="module")
def primary(embedder):
    folder = Path(tempfile.mkdtemp(prefix="footnote-primary-"))
    folder.chmod(0o711)
    local = LocalPostgres(folder)
    dsn = local.start()
    try:
        asyncio.run(schema_version.upgrade(dsn))
        in_database(dsn, lambda database: index(database, embedder))
        yield local, dsn
    finally:
        local.stop()


class Clients:
    """Some who chat and some who ask, all the time; what they were answered, and when."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[str, float, int]] = []
        self.acknowledged: list[str] = []
        self._url = url
        self._over = threading.Event()

    def ask(self, path: str) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as http:
            while not self._over.is_set():
                response = http.post(path, json=MESSAGE if path == "/chat" else QUESTION)
                self.seen.append((path, time.monotonic(), response.status_code))
                if path == "/chat" and response.is_success:
                    self.acknowledged.append(response.json()["conversation_id"])
                time.sleep(0.05)

    def stop(self) -> None:
        self._over.set()

    def statuses(self, path: str, *, since: float) -> collections.Counter[int]:
        return collections.Counter(status for asked, at, status in self.seen if asked == path and at >= since)


def test_after_a_failover_clients_write_to_the_new_writer_and_nothing_that_was_acknowledged_is_lost(primary, embedder):
    local, old = primary
    with (
        start_model_server() as model,
        streaming_replica(local, old) as replica,
        tcp_proxy(old) as proxy,
    ):
        model.default = Reply("The engineer Milada Novak built it [1].")
        stack = Stack(old, data_dir=local.directory.parent, embedder=embedder, model=model)
        with (
            stack.process(DATABASE__URL=proxy.dsn, DATABASE__ACQUIRE_TIMEOUT="5") as server,
            ThreadPoolExecutor(2 * ASKING) as pool,
            httpx.Client(base_url=server.url, timeout=120) as http,
        ):
            clients = Clients(server.url)
            asking = [pool.submit(clients.ask, path) for path in ("/chat", "/retrieve") * ASKING]
            try:
                until(lambda: len(clients.acknowledged) > ASKING)
                execute(old, "ALTER SYSTEM SET default_transaction_read_only = on")
                execute(old, "SELECT pg_reload_conf()")
                demoted = time.monotonic()
                until(lambda: clients.statuses("/chat", since=demoted)[503])
                until(lambda: http.get("/ready").status_code == 503)
                assert "read-only" in http.get("/ready").json()["dependencies"]["database"]["detail"]
                until(replica.has_caught_up)
                replica.promote()
                proxy.aim(replica.dsn)
                aimed = time.monotonic()
                until(lambda: http.get("/ready").is_success)
                until(lambda: clients.statuses("/chat", since=aimed)[200] > ASKING)
            finally:
                clients.stop()
            for each in asking:
                each.result()
            assert clients.statuses("/chat", since=demoted).keys() <= {200, 503}
            assert clients.statuses("/retrieve", since=0).keys() == {200}  # questions were answered throughout
            kept = {str(id_) for (id_,) in execute(replica.dsn, "SELECT id FROM footnote.conversations")}
            assert set(clients.acknowledged) <= kept
            until(lambda: not execute(old, _STILL_THERE))  # nobody holds on to the old writer, listeners neither


_STILL_THERE = """
    SELECT FROM pg_stat_activity WHERE application_name = 'footnote' AND backend_type = 'client backend'"""
