"""Code in a process of its own: its results, its errors, its death, and that it can be stopped whatever it does."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from support.servants import Servant as Target

import config.own_process.processes as module
from config.own_process.frames import Servant
from config.own_process.processes import ChildError, ProcessDied, Processes
from config.threads import ThreadEnded, ThreadsLost

PATH = f"{Target.__module__}:Servant"


@pytest.fixture
async def make():
    made = []

    def make(*, most=1, grace=0.3, wish=""):
        made.append(Processes("odd", Servant(PATH, (wish,)), most=most, grace=grace))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def test_it_is_made_once_and_called_again_and_again(make):
    processes = make()
    assert await asyncio.to_thread(processes.open) == "made"
    first = await processes.run("obey", "")
    assert await processes.run("obey", "") == first
    assert await processes.run("echo", {"a": [1, None]}) == {"a": [1, None]}
    assert await processes.run("echo", "x" * 3_000_000) == "x" * 3_000_000
    assert [item async for item in processes.items("count", 5)] == [0, 1, 2, 3, 4]
    assert processes.trouble is None


async def test_as_many_calls_run_at_a_time_as_there_are_processes(make):
    processes = make(most=2)
    told = await asyncio.gather(*(processes.run("obey", "") for _ in range(6)))
    assert 1 <= len(set(told)) <= 2


async def test_a_call_that_holds_the_interpreter_is_stopped_and_the_next_one_answers(make):
    processes = make()
    before = await processes.run("obey", "")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await processes.run("obey", "!hold")
    started = time.monotonic()
    assert await processes.run("obey", "") != before
    assert time.monotonic() - started < 30


async def test_another_process_is_there_before_the_time_of_a_late_call_is_over(make):
    processes = make(grace=60)
    before = await processes.run("obey", "")
    processes._servant = Servant(PATH, ("!slow",))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await processes.run("obey", "!hold")
    await asyncio.sleep(module.LATE + 0.2)
    assert "being replaced" in processes.trouble
    async with asyncio.timeout(30):
        assert await processes.run("obey", "") != before
    assert processes.trouble is None


async def test_a_late_call_that_returns_keeps_its_process(make, monkeypatch):
    monkeypatch.setattr(module, "LATE", 0.1)
    processes = make(grace=60)
    before = await processes.run("obey", "")
    processes._servant = Servant(PATH, ("!slow",))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await processes.run("nap", 0.4)
    assert await processes.run("obey", "") == before
    await asyncio.sleep(0.1)
    assert len(processes._all) == 1


async def test_a_call_takes_the_process_of_another_that_ends_before_a_new_one_has_started(make):
    processes = make(most=2)
    first = await processes.run("obey", "")
    processes._servant = Servant(PATH, ("!hold",))  # the second is never made
    napping = asyncio.create_task(processes.run("nap", 0.2))
    await asyncio.sleep(0.05)
    assert await processes.run("obey", "") == first
    await napping


async def test_to_wait_for_a_process_is_told_apart_from_its_call(make):
    processes, begun = make(), []
    await processes.run("obey", "")
    napping = asyncio.create_task(processes.run("nap", 0.5))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(processes.run("obey", "", begun=lambda: begun.append(napping.done())))
    await asyncio.sleep(0.1)
    assert begun == []
    await waiting
    assert len(begun) == 1


async def test_whoever_waits_for_a_process_that_ends_gets_another(make):
    processes = make(most=1)
    dying = asyncio.create_task(processes.run("obey", "!die"))
    waiting = asyncio.create_task(processes.run("obey", ""))
    with pytest.raises(ProcessDied):
        await dying
    assert (await waiting).startswith("pid ")


async def test_a_stream_that_nobody_reads_ends_and_its_process_stays(make):
    processes = make(grace=5)
    before = await processes.run("obey", "")
    items = processes.items("count", 10_000, 0.01)
    assert await anext(items) == 0
    await items.aclose()
    assert await processes.run("obey", "") == before


@pytest.mark.parametrize(("wish", "said"), [("!die", "SIGSEGV"), ("!leave", "exit code 3")])
async def test_a_process_that_dies_fails_its_call_and_is_replaced(make, wish, said):
    processes = make()
    before = await processes.run("obey", "")
    with pytest.raises(ProcessDied, match=said):
        await processes.run("obey", wish)
    assert await processes.run("obey", "") != before


async def test_errors_come_with_their_traceback_and_leave_the_process_as_it_is(make):
    processes = make()
    before = await processes.run("obey", "")
    with pytest.raises(ValueError, match="hunter2") as failed:
        await processes.run("obey", "!raise")
    assert "in obey" in str(failed.value.__cause__)
    with pytest.raises(ChildError) as foreign:
        await processes.run("raises", "own")
    assert (type(foreign.value).__name__, foreign.value.status_code) == ("Unpicklable", 429)
    with pytest.raises(ThreadEnded, match="SystemExit"):
        await processes.run("raises", "exit")
    with pytest.raises(NotImplementedError):
        await processes.run("raises", "missing")
    with pytest.raises(Exception, match="pickle"):
        await processes.run("sends_what_cannot_be_sent")
    assert await processes.run("obey", "") == before


@pytest.mark.parametrize("wish", ["!raise", "!die", "!leave"])
async def test_an_object_that_cannot_be_made_is_told_of_at_the_start(make, wish):
    with pytest.raises((ValueError, ProcessDied)):
        await asyncio.to_thread(make(wish=wish).open)


async def test_a_constructor_that_does_not_return_is_given_up(make):
    with pytest.raises(ProcessDied, match="not made in 5 seconds"):
        await asyncio.to_thread(lambda: make(wish="!hold").open(seconds=5))


async def test_a_process_that_cannot_be_started_again_is_a_trouble_until_it_can(make, monkeypatch):
    monkeypatch.setattr(module, "START_AGAIN", 0.0)
    processes = make()
    await processes.run("obey", "")
    processes._servant = Servant(PATH, ("!raise",))
    with pytest.raises(ProcessDied):
        await processes.run("obey", "!leave")
    with pytest.raises(ThreadsLost, match="ValueError"):
        await processes.run("obey", "")
    assert "cannot be started" in processes.trouble
    processes._servant = Servant(PATH, ("",))
    await processes.run("obey", "")
    assert processes.trouble is None


async def test_processes_end_with_their_owner(make):
    processes = make()
    pid = int((await processes.run("obey", "")).split()[1])
    await processes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_start_that_takes_longer_than_its_call_serves_the_next_one(make):
    processes = make()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await processes.run("obey", "")
    (started,) = processes._all
    assert (await processes.run("obey", "")) == f"pid {started._process.pid}"
