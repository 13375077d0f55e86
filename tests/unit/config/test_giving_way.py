"""Ingestion beside a server: slower while that one is asked, as the system shows it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from config import giving_way
from config.giving_way import LastAsked

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(giving_way, "LOOK_SECONDS", 0.02)


@pytest.fixture
def child():
    """A process of its own, as readers are."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(process.pid)
    process.communicate(b"\n")


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def niceness():
    return {os.getpriority(os.PRIO_PROCESS, int(each.name)) for each in Path("/proc/self/task").iterdir()}


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root gets its priority back, on Linux")
def test_all_threads_and_processes_give_way_while_the_server_is_asked(tmp_path, child):
    before, over = niceness(), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with giving_way.giving_way(tmp_path, nice=7):
            assert niceness() == before
            LastAsked(tmp_path).note()
            until(lambda: niceness() == {7})
            until(lambda: child.nice() == 7)
            os.utime(tmp_path / "asked", (0, 0))
            until(lambda: niceness() == before)
            until(lambda: child.nice() in before)
            LastAsked(tmp_path).note()
            until(lambda: niceness() == {7})
        assert niceness() == before  # whatever follows in this process is no ingestion
    finally:
        over.set()
        thread.join()


def test_nobody_gives_way_without_a_server_or_with_a_niceness_of_none(tmp_path):
    before = niceness()
    with giving_way.giving_way(tmp_path, nice=7):
        time.sleep(0.2)
        assert niceness() == before
    LastAsked(tmp_path).note()
    with giving_way.giving_way(tmp_path, nice=0):
        time.sleep(0.2)
        assert niceness() == before


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path):
    asked = LastAsked(tmp_path / "no" / "such")
    asked.note()
    assert not asked.is_asked()
