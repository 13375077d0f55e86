"""One turn for several processes."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from server.peers.turn import SharedTurn

HOLDS = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


async def most_at_once(*turns):
    inside, most = 0, 0

    async def take(turn):
        nonlocal inside, most
        async with turn.taken():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1

    await asyncio.gather(*(take(turn) for turn in turns for _ in range(10)))
    return most


async def test_one_has_it_at_a_time(tmp_path):
    assert await most_at_once(SharedTurn(None)) == 1
    assert await most_at_once(SharedTurn(tmp_path / "lock")) == 1
    assert await most_at_once(SharedTurn(tmp_path / "lock"), SharedTurn(tmp_path / "lock")) == 1


async def test_whoever_gives_up_waiting_or_fails_leaves_it_free(tmp_path):
    one, other = SharedTurn(tmp_path / "lock"), SharedTurn(tmp_path / "lock")
    async with one.taken():
        waiting = asyncio.create_task(most_at_once(other))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait({waiting})
    with pytest.raises(ZeroDivisionError):
        async with one.taken():
            1 / 0  # noqa: B018
    async with asyncio.timeout(10), other.taken():
        pass


async def test_a_process_that_is_killed_has_it_no_longer(tmp_path):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", HOLDS, str(tmp_path / "lock"), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    taking = asyncio.create_task(most_at_once(SharedTurn(tmp_path / "lock")))
    await asyncio.sleep(0.1)
    assert not taking.done()
    child.send_signal(signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await taking == 1
    await child.wait()
