"""The worker that a server runs beside itself: real processes, a program of the test's own in the worker's place."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.environment import make_settings
from support.workers import PATIENCE, ROOT, until

from server.process import worker as worker_process
from server.process.worker import is_wanted, open_worker

OBEDIENT = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def stop(*_):
    (folder / "stopped").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with (folder / "started").open("a") as file:
    file.write("once\\n")
print("a line of the worker's log", file=sys.stderr, flush=True)
print("nobody must see this", flush=True)
time.sleep(1000)
"""

DEAF = OBEDIENT.replace("sys.exit(0)", "pass").replace("time.sleep(1000)", "while True: time.sleep(1000)")

SERVER = """
import asyncio, sys
from pathlib import Path
from config import logging
from config.settings import LogSettings, Settings
from server.process.worker import open_worker

async def main():
    logging.configure(LogSettings())
    settings = Settings(jobs={"worker": "always"})
    async with open_worker(settings, command=(sys.executable, "-c", sys.argv[1], sys.argv[2])) as worker:
        while not Path(sys.argv[2], "started").exists():
            await asyncio.sleep(0.05)
        print(worker.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def chosen(tmp_path):
    """Return settings of a server that wants a worker."""
    return make_settings("postgresql://nowhere/nothing", tmp_path, jobs={"worker": "always", "shutdown_timeout": 600})


def starts(folder):
    path = Path(folder, "started")
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize(
    ("worker", "url", "wanted"),
    [
        ("auto", None, True),
        ("auto", "postgresql://h/d", False),
        ("always", "postgresql://h/d", True),
        ("never", None, False),
    ],
)
def test_a_server_runs_a_worker_where_nobody_else_would(tmp_path, worker, url, wanted):
    settings = make_settings("postgresql://h/d", tmp_path, jobs={"worker": worker})
    database = settings.database.model_copy(update={"url": url})
    assert is_wanted(settings.model_copy(update={"database": database})) is wanted


async def test_where_no_worker_is_wanted_none_is_started(tmp_path):
    settings = make_settings("postgresql://h/d", tmp_path)
    async with open_worker(settings, command=("no such program",)) as worker:
        assert worker is None


async def test_a_worker_is_told_to_stop_with_its_server_and_waited_for(chosen, tmp_path):
    async with open_worker(chosen, command=(sys.executable, "-c", OBEDIENT, str(tmp_path))) as worker:
        await until(lambda: starts(tmp_path))
        pid = worker.pid
    assert (tmp_path / "stopped").exists()
    assert not psutil.pid_exists(pid)


async def test_a_worker_that_does_not_listen_is_killed(chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "LAST_WORDS", 0.5)
    hurried = chosen.model_copy(update={"jobs": chosen.jobs.model_copy(update={"shutdown_timeout": 0})})
    async with open_worker(hurried, command=(sys.executable, "-c", DEAF, str(tmp_path))) as worker:
        await until(lambda: starts(tmp_path))
        pid = worker.pid
    assert (tmp_path / "stopped").exists()  # it was asked first
    assert not psutil.pid_exists(pid)


async def test_a_worker_that_dies_is_started_again(chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "SHORTEST_WAIT", 0.01)
    async with open_worker(chosen, command=(sys.executable, "-c", OBEDIENT, str(tmp_path))) as worker:
        for time in (1, 2, 3):
            await until(lambda time=time: starts(tmp_path) == time)
            os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: starts(tmp_path) == 4)


async def test_a_program_that_cannot_be_started_does_not_harm_the_server(chosen):
    async with open_worker(chosen, command=("/no/such/program",)) as worker:
        await asyncio.sleep(0.3)
        assert worker is not None


def start_server(folder, log):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    with log.open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", SERVER, OBEDIENT, str(folder)],
            cwd=folder,
            env=environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
async def test_a_worker_ends_when_its_server_is_killed_and_its_log_is_the_server_s(tmp_path):
    log = tmp_path / "log"
    server = start_server(tmp_path, log)
    pid = int(await asyncio.to_thread(server.stdout.readline))
    server.kill()
    rest, _ = await asyncio.to_thread(server.communicate, None, PATIENCE)
    await until((tmp_path / "stopped").exists)
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert "a line of the worker's log" in log.read_text()
    assert rest == ""
