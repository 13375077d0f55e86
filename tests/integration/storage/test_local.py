"""The embedded PostgreSQL: shared by processes, stopped by the last, up again after a kill."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg2
import pytest
from support.sql import execute
from support.stack import until

from storage.errors import EmbeddedServerFailed
from storage.local import LocalPostgres

HOLD = """
import sys
from pathlib import Path
from storage.local import LocalPostgres
local = LocalPostgres(Path(sys.argv[1]))
print(local.start(), flush=True)
sys.stdin.readline()
local.stop()
"""


def hold(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def postmaster(folder):
    pid_file = Path(folder, "postgres", "postmaster.pid")
    return int(pid_file.read_text().splitlines()[0]) if pid_file.exists() else None


def answers(dsn):
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone() == (1,)


def release(process):
    process.communicate("\n", timeout=30)


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_processes_share_one_server_and_the_last_stops_it(tmp_path):
    first, dsn = hold(tmp_path)
    second, same = hold(tmp_path)
    assert dsn == same
    pid = postmaster(tmp_path)
    release(first)
    assert answers(dsn)
    assert postmaster(tmp_path) == pid
    release(second)
    assert not runs(pid)


def test_a_killed_holder_keeps_nobody_from_starting_nor_the_last_from_stopping(tmp_path):
    killed, _ = hold(tmp_path)
    killed.kill()
    killed.wait()
    assert json.loads(Path(tmp_path, "postgres", ".handle_pids.json").read_text()) == [killed.pid]
    last, dsn = hold(tmp_path)
    assert answers(dsn)
    pid = postmaster(tmp_path)
    release(last)
    assert not runs(pid)


def test_a_killed_postgresql_is_started_again(tmp_path):
    local = LocalPostgres(tmp_path)
    dsn = local.start()
    os.kill(postmaster(tmp_path), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # its children take a moment to notice
        try:
            local.ensure_running()
            assert answers(dsn)
            break
        except (OSError, subprocess.SubprocessError, psycopg2.Error, AssertionError):
            time.sleep(0.5)
    assert answers(dsn)
    local.stop()


def test_a_postgresql_that_another_process_started_again_is_stopped_by_the_last(tmp_path):
    local = LocalPostgres(tmp_path)
    local.start()
    os.kill(postmaster(tmp_path), signal.SIGKILL)
    other, dsn = until(lambda: (held := hold(tmp_path))[1] and held)  # its children take a moment to notice
    assert answers(dsn)
    again = postmaster(tmp_path)
    release(other)
    assert runs(again)
    local.stop()
    assert not runs(again)


def test_its_log_is_cut_when_it_is_long_at_the_start_and_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.local.LOG_BYTES", 2000)
    local = LocalPostgres(tmp_path)
    log, old = tmp_path / "postgres" / "log", tmp_path / "postgres" / "log.1"
    dsn = local.start()
    try:
        for _ in range(20):
            with contextlib.suppress(psycopg2.Error):
                execute(dsn, "SELECT * FROM a_table_that_there_is_not_and_whose_name_is_long")
        assert log.stat().st_size > 2000
        local.ensure_running()
        assert log.stat().st_size == 0
        assert "a_table_that_there_is_not" in old.read_text()
        with contextlib.suppress(psycopg2.Error):  # PostgreSQL goes on at the beginning
            execute(dsn, "SELECT * FROM another_one")
        assert "another_one" in log.read_text()
        assert "\0" not in log.read_text()
        local.ensure_running()
        assert "another_one" in log.read_text()
    finally:
        local.stop()
    log.write_text("x" * 3000)
    again = LocalPostgres(tmp_path)
    again.start()
    try:
        assert old.read_text() == "x" * 3000
        assert "x" * 100 not in log.read_text()
    finally:
        again.stop()


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerFailed, match="file"):
        LocalPostgres(tmp_path / "file").start()
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerFailed, match="PostgreSQL 12"):
        LocalPostgres(tmp_path).start()


def test_a_long_and_odd_path_works(tmp_path):
    folder = tmp_path / ("long " + "x" * 120) / "with'quote & ünïcode"
    process, dsn = hold(folder)
    assert answers(dsn)
    release(process)
