"""The supervisor over small programs: what it starts, starts again, replaces and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager

import pytest
from structlog.testing import CapturingLogger

from server.peers.member import read_state
from server.process import supervisor as module
from server.process.supervisor import CannotStart, State, Supervisor

PRELUDE = """
import os, signal, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
number, pipe, folder = int(options["--number"]), int(options["--pipe"]), options["--folder"]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
with open(f"{folder}/started", "a") as file:
    file.write(f"{number}\\n")
def say(word):
    os.write(pipe, word)
    os.close(pipe)
"""
SERVES = "say(b'1')\ntime.sleep(60)"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_WAIT", 0.01)


@pytest.fixture
def supervised(tmp_path):
    """Return a function that runs a supervisor of two programs until its block ends."""

    @asynccontextmanager
    async def run(program, *, hang_timeout=0):
        command = (sys.executable, "-I", "-S", "-c", PRELUDE + program)
        made = Supervisor(
            [],
            count=2,
            environment=os.environ,
            folder=tmp_path,
            patience=10,
            hang_timeout=hang_timeout,
            command=command,
        )
        try:
            yield made
        finally:
            await made.stop()

    return run


def pids(supervisor):
    return {process.number: process.child.pid for process in supervisor.processes}


async def until(holds):
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 (the processes tell nobody)
            await asyncio.sleep(0.01)


def started(folder):
    return (folder / "started").read_text().split()


async def test_those_that_serve_are_told_of(supervised, tmp_path):
    async with supervised(SERVES) as supervisor:
        await supervisor.start()
        assert sorted(pids(supervisor)) == [1, 2]
        state = read_state(tmp_path)
        assert state is not None
        assert (state.answering, state.wanted) == (2, 2)
        children = [process.child for process in supervisor.processes]
    assert {child.returncode for child in children} == {0}


HANGS_ONCE = """
os.write(pipe, b"1")
first = open(f"{folder}/started").read().split().count(str(number)) == 1
while not (first and number == 1):
    time.sleep(0.01)
    os.write(pipe, b".")
time.sleep(60)
"""


async def test_one_whose_loop_stands_still_is_killed_and_replaced(supervised, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    log = CapturingLogger()
    monkeypatch.setattr(module, "_log", log)
    async with supervised(HANGS_ONCE, hang_timeout=2) as supervisor:
        await supervisor.start()
        before = pids(supervisor)
        await until(lambda: pids(supervisor).get(1) not in (None, before[1]))
        await until(lambda: read_state(tmp_path).answering == 2)
        assert pids(supervisor)[2] == before[2]
    assert started(tmp_path).count("1") == 2
    assert any("stands still" in str(call.args) for call in log.calls)


async def test_one_that_never_beats_is_left_alone(supervised, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.005)
    async with supervised(SERVES, hang_timeout=0.01) as supervisor:
        await supervisor.start()
        before = pids(supervisor)
        await asyncio.sleep(0.3)
        assert pids(supervisor) == before


async def test_one_that_dies_is_replaced_and_told_of_as_missing_meanwhile(supervised, tmp_path, monkeypatch):
    async with supervised(SERVES) as supervisor:
        await supervisor.start()
        before = pids(supervisor)
        monkeypatch.setattr(module, "SHORTEST_WAIT", 0.5)
        os.kill(before[1], signal.SIGKILL)
        await until(lambda: read_state(tmp_path).answering == 1)
        await until(lambda: read_state(tmp_path).answering == 2)
        after = pids(supervisor)
    assert after[2] == before[2]
    assert after[1] != before[1]


async def test_one_that_dies_as_soon_as_it_serves_while_the_others_start_is_replaced(supervised, tmp_path):
    program = f"""
if number == 2 and not os.path.exists(folder + "/died"):
    open(folder + "/died", "w").close()
    say(b"1")
    sys.exit(9)
if number == 1:
    while not os.path.exists(folder + "/died"):
        time.sleep(0.01)
    time.sleep(0.5)
{SERVES}
"""
    async with supervised(program) as supervisor:
        await supervisor.start()
        await until(lambda: read_state(tmp_path).answering == 2)


async def test_one_that_cannot_start_says_why(supervised):
    async with supervised("say(b'0the key is missing')\nsys.exit(2)") as supervisor:
        with pytest.raises(CannotStart, match=r"^the key is missing$"):
            await supervisor.start()


async def test_one_that_ends_without_a_word_is_told_of_by_its_status(supervised):
    async with supervised("sys.exit(7)") as supervisor:
        with pytest.raises(CannotStart, match="worker 1 ended before it served, with status 7"):
            await supervisor.start()


async def test_one_that_never_serves_is_killed(supervised, monkeypatch):
    monkeypatch.setattr(module, "READY_SECONDS", 0.3)
    async with supervised("time.sleep(60)") as supervisor:
        with pytest.raises(CannotStart, match=r"did not serve within 0\.3 seconds"):
            await supervisor.start()


async def test_a_program_that_is_not_there_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(module.die_with_parent, "command", lambda _: ())
    absent = (str(tmp_path / "absent"),)
    supervisor = Supervisor([], count=1, environment={}, folder=tmp_path, patience=1, command=absent)
    with pytest.raises(CannotStart, match="worker 1 cannot be started"):
        await supervisor.start()


async def test_what_dies_again_and_again_is_started_at_growing_intervals(supervised, tmp_path, monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def counted(seconds):
        if seconds >= module.SHORTEST_WAIT:
            waits.append(seconds)
        await sleep(0)

    program = f"""
if os.path.exists(folder + "/broken"):
    say(b"0it is broken")
    sys.exit(2)
{SERVES}
"""
    async with supervised(program) as supervisor:
        await supervisor.start()
        monkeypatch.setattr(module, "SHORTEST_WAIT", 0.25)
        monkeypatch.setattr(module.asyncio, "sleep", counted)
        (tmp_path / "broken").touch()
        os.kill(pids(supervisor)[1], signal.SIGKILL)
        async with asyncio.timeout(30):
            while len(waits) < 10:
                await sleep(0.01)
        (tmp_path / "broken").unlink()
        # while waits are still none: the next one would be of half a minute
        await until(lambda: read_state(tmp_path).answering == 2)
        monkeypatch.setattr(module.asyncio, "sleep", sleep)
    assert waits[:10] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


async def test_a_reload_replaces_all_and_leaves_no_two_of_a_number(supervised):
    async with supervised(SERVES) as supervisor:
        await supervisor.start()
        before = pids(supervisor)
        await supervisor.reload()
        await until(lambda: len(supervisor.processes) == 2)
        assert sorted(pids(supervisor)) == [1, 2]
        assert not set(before.values()) & set(pids(supervisor).values())


async def test_reloads_that_come_while_one_runs_are_one_more(supervised, tmp_path):
    async with supervised(SERVES) as supervisor:
        await supervisor.start()
        await asyncio.gather(*(supervisor.reload() for _ in range(50)))
        await until(lambda: len(supervisor.processes) == 2)
    assert len(started(tmp_path)) == 2 + 2 * 2


async def test_a_reload_that_fails_leaves_those_that_serve(supervised, tmp_path, monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr(module, "_log", log)
    program = f"""
if os.path.exists(folder + "/broken"):
    say(b"0FOOTNOTE_X is wrong")
    sys.exit(2)
{SERVES}
"""
    async with supervised(program) as supervisor:
        await supervisor.start()
        before = pids(supervisor)
        (tmp_path / "broken").touch()
        await supervisor.reload()
        await until(lambda: len(supervisor.processes) == 2)
        assert pids(supervisor) == before
    assert started(tmp_path).count("1") == 2
    assert started(tmp_path).count("2") == 1
    assert "FOOTNOTE_X is wrong" in str(log.calls)


async def test_one_that_died_while_a_reload_replaced_it_is_not_started_twice(supervised, tmp_path, monkeypatch):
    async with supervised(SERVES) as supervisor:
        await supervisor.start()
        monkeypatch.setattr(module, "SHORTEST_WAIT", 1.0)
        os.kill(pids(supervisor)[1], signal.SIGKILL)
        await until(lambda: read_state(tmp_path).answering == 1)
        await supervisor.reload()
        await asyncio.sleep(1.5)
        assert sorted(process.number for process in supervisor.processes) == [1, 2]


SLOW = f"time.sleep(0.4)\n{SERVES}"


async def settled(supervisor):
    """Wait until every worker serves, and for longer than one takes to start; return the numbers of all."""
    for _ in range(2):
        await until(lambda: all(process.state is State.SERVING for process in supervisor.processes))
        await until(lambda: len({process.number for process in supervisor.processes}) == 2)
        await asyncio.sleep(1)
    return [process.number for process in supervisor.processes]


async def test_one_that_is_killed_while_a_reload_replaces_it_is_replaced_once(supervised):
    async with supervised(SLOW) as supervisor:
        await supervisor.start()
        old = pids(supervisor)[1]
        reloading = asyncio.create_task(supervisor.reload())
        await until(lambda: len(supervisor.processes) == 3)
        os.kill(old, signal.SIGKILL)
        await reloading
        assert await settled(supervisor) == [1, 2]


async def test_a_reload_while_one_that_died_is_started_again_leaves_one_of_a_number(supervised):
    async with supervised(SLOW) as supervisor:
        await supervisor.start()
        dead = pids(supervisor)[1]
        os.kill(dead, signal.SIGKILL)
        await until(lambda: len(supervisor.processes) == 2 and pids(supervisor)[1] != dead)
        await supervisor.reload()
        assert await settled(supervisor) == [1, 2]


async def test_a_reload_during_the_start_leaves_one_of_a_number(supervised):
    async with supervised(SLOW) as supervisor:
        starting = asyncio.create_task(supervisor.start())
        await until(lambda: len(supervisor.processes) == 2)
        await supervisor.reload()
        await starting
        assert await settled(supervisor) == [1, 2]


async def test_one_that_serves_after_a_newer_one_leaves(supervised, tmp_path):
    program = f"""
if number == 1:
    mine = sum(line == "1\\n" for line in open(folder + "/started"))
    time.sleep(1 if mine == 2 else 0)
{SERVES}
"""
    async with supervised(program) as supervisor:
        await supervisor.start()
        dead = pids(supervisor)[1]
        os.kill(dead, signal.SIGKILL)
        await until(lambda: len(started(tmp_path)) == 3 and 1 in pids(supervisor))
        slow = pids(supervisor)[1]
        await supervisor.reload()
        assert await settled(supervisor) == [1, 2]
        assert slow not in pids(supervisor).values()


async def test_what_is_killed_leaves_no_socket_of_its_own(supervised, tmp_path):
    async with supervised('open(f"{folder}/{options[\'--name\']}.sock", "w").close()\n' + SERVES) as supervisor:
        await supervisor.start()
        before = set(tmp_path.glob("*.sock"))
        victim = supervisor.processes[0]
        os.kill(victim.child.pid, signal.SIGKILL)
        await until(lambda: read_state(tmp_path).answering == 1)
        await until(lambda: read_state(tmp_path).answering == 2)
        left = set(tmp_path.glob("*.sock"))
    assert len(left) == len(before) == 2
    assert tmp_path / f"{victim.name}.sock" in before - left


async def test_what_ignores_its_end_is_killed(tmp_path):
    program = PRELUDE + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVES
    command = (sys.executable, "-I", "-S", "-c", program)
    supervisor = Supervisor([], count=2, environment=os.environ, folder=tmp_path, patience=0.3, command=command)
    await supervisor.start()
    children = [process.child for process in supervisor.processes]
    await supervisor.stop()
    assert {child.returncode for child in children} == {-signal.SIGKILL}


async def test_connections_are_refused_as_soon_as_the_last_worker_has_ended(tmp_path):
    command = (sys.executable, "-I", "-S", "-c", PRELUDE + SERVES)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        made = Supervisor([sock], count=2, environment=os.environ, folder=tmp_path, patience=10, command=command)
        await made.start()
        with socket.create_connection(address):
            pass
        await made.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
