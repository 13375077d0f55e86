"""Servers behind a proxy that are stopped and started one after the other, under load: no request fails."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import pytest
from support.events import ending, parse
from support.haproxy import BINARY, Haproxy, start_haproxy
from support.model_server import Reply
from support.nginx import free_port, start_nginx
from support.programs import ROOT
from support.stack import PATIENCE

from storage.schema_version import REVISION

ASKED = "Who built the lighthouse of Ostrava Bay?"
WORDS = "The lighthouse was built by monks [1]."
WORKERS = {"program": ("-m", "server"), "forked": False, "SERVER__WORKERS": "2"}
CLIENTS = 4


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh(default=Reply(WORDS))


def whole(http):
    return http.post("/query", json={"question": ASKED}).status_code


def streamed(http):
    with http.stream("POST", "/query/stream", json={"question": ASKED}) as response:
        said = "".join(response.iter_text())
    is_whole = response.status_code == 200 and ending(parse(said)).name == "done"
    return 200 if is_whole else (response.status_code, said)


def listed(http):
    return http.get("/documents").status_code


MIGRATION = """
from alembic import op

revision, down_revision, serves_from = "9999", "{newest}", "{newest}"


def upgrade():
    op.execute("ALTER TABLE footnote.documents ADD COLUMN colour text")
    op.execute("CREATE TABLE footnote.colours (name text PRIMARY KEY)")
"""


@pytest.fixture
def next_release(tmp_path) -> Path:
    """Make a Footnote that needs a newer schema, in which there is more than this one knows."""
    root = tmp_path / "next"
    for package in ("config", "relevance", "storage", "embedding", "ingestion", "server", "web"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    version = root / "storage/schema_version.py"
    version.write_text(version.read_text().replace(f'REVISION = "{REVISION}"', 'REVISION = "9999"'))
    (root / "storage/migrations/versions/9999_colours.py").write_text(MIGRATION.format(newest=REVISION))
    return root


class Load:
    """Asks again and again from several threads, each request by a connection of its own, and counts what came."""

    def __init__(self, url: str) -> None:
        self.seen: Counter[object] = Counter()
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def _run(self, number: int) -> None:
        for ask in itertools.islice(itertools.cycle((whole, streamed, listed)), number, None):
            if self._stop.is_set():
                return
            try:
                with httpx.Client(base_url=self._url, timeout=PATIENCE) as http:
                    self.seen[ask(http)] += 1
            except httpx.HTTPError as exc:
                self.seen[repr(exc)] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def goes_on(self, requests: int = 12) -> None:
        """Wait until so many more requests have ended."""
        least, end = sum(self.seen.values()) + requests, time.monotonic() + PATIENCE
        while sum(self.seen.values()) < least:
            assert time.monotonic() < end, self.seen
            time.sleep(0.02)


@contextmanager
def ended(process) -> Iterator[None]:
    process.signal(signal.SIGTERM)
    yield
    code, err = process.ended()
    assert (code, "Traceback" in err) == (0, False), err


@pytest.mark.parametrize(
    ("how", "keeps"), [({}, False), (WORKERS, True)], ids=["one process", "two workers, connections kept"]
)
def test_no_request_fails_while_servers_behind_nginx_are_replaced_one_by_one(stack, how, keeps):
    ports = [free_port(), free_port()]
    kept = {
        "location": 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;',
        "upstream": "keepalive 8;",
    }
    replaced_under_load(stack, ports, start_nginx(ports, **(kept if keeps else {})), how)


@pytest.mark.skipif(BINARY is None, reason="apt-get install haproxy")
def test_no_request_fails_while_servers_behind_haproxy_are_replaced_one_by_one(stack, tmp_path):
    ports = [free_port(), free_port()]
    replaced_under_load(stack, ports, start_haproxy(ports, folder=tmp_path), {}, seen_again=Haproxy.wait_for_all)


def replaced_under_load(stack, ports, proxy, how, *, seen_again=lambda _: None):
    with ExitStack() as servers:
        start = [
            lambda port=port: servers.enter_context(stack.process(SERVER__PORT=str(port), **how)) for port in ports
        ]
        running = [each() for each in start]
        proxied = servers.enter_context(proxy)
        with Load(proxied.url) as load:
            load.goes_on()
            for number in range(2):
                with ended(running[number]):
                    load.goes_on()
                running[number] = start[number]()
                seen_again(proxied)
                load.goes_on()
        complaints = proxied.errors()
    assert set(load.seen) == {200}, (load.seen, complaints)


def test_a_worker_that_is_told_to_stop_alone_leaves_the_port_to_the_others(stack):
    with stack.process(**WORKERS) as process, Load(process.url) as load:
        load.goes_on()
        worker = process.workers()[0]
        worker.send_signal(signal.SIGTERM)
        with suppress(Exception):
            worker.wait(PATIENCE)
        assert not worker.is_running()
        load.goes_on()
    assert set(load.seen) == {200}, load.seen


def test_no_request_fails_while_servers_are_upgraded_beneath_and_one_by_one_and_taken_back(stack, next_release):
    ports = [free_port(), free_port()]
    with ExitStack() as servers:

        def start(number, **how):
            return servers.enter_context(stack.process(SERVER__PORT=str(ports[number]), **how))

        newer = {"root": next_release, "forked": False}
        running = [start(0), start(1)]
        proxied = servers.enter_context(start_nginx(ports))
        with Load(proxied.url) as load:
            load.goes_on()
            upgraded = subprocess.run(
                [sys.executable, "-m", "storage", "upgrade"],
                cwd=stack.data_dir,
                env=os.environ | {"PYTHONPATH": str(next_release), "FOOTNOTE_DATABASE__URL": stack.dsn},
                capture_output=True,
                text=True,
                check=False,
            )
            assert f"revision 9999 (was: {REVISION})" in upgraded.stdout, upgraded
            ready = httpx.get(f"{running[0].url}/ready", timeout=PATIENCE)
            load.goes_on()
            for number, how in ((0, newer), (1, newer), (0, {})):  # the last is of the release before
                with ended(running[number]):
                    load.goes_on()
                running[number] = start(number, **how)
                load.goes_on()
    assert (ready.status_code, "which it serves" in ready.json()["dependencies"]["schema"]["detail"]) == (200, True)
    assert set(load.seen) == {200}, load.seen
