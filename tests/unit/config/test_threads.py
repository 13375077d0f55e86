"""Threads of plug-ins: bounded, given up in time, counted, and with the context of whoever asks."""

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest

from config.threads import ThreadEnded, Threads, ThreadsLost

who = ContextVar("who", default="nobody")


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (threads set it)
            await asyncio.sleep(0.01)


async def test_a_call_runs_elsewhere_with_the_callers_context():
    who.set("ada")
    seen = await Threads("p", most=1).run(lambda: (who.get(), threading.current_thread().name))
    assert seen == ("ada", "plug-in p")


async def test_no_more_run_at_a_time_than_there_are_threads():
    threads, at_once, most = Threads("p", most=3), [], []

    def call():
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.pop()

    await asyncio.gather(*(threads.run(call) for _ in range(20)))
    assert max(most) <= 3
    assert len(most) == 20
    assert threads.lost == 0


async def given_up(threads, call):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await threads.run(call)


async def test_threads_that_do_not_return_are_lost_until_they_do():
    threads, release = Threads("p", most=2), threading.Event()
    for _ in range(2):
        assert threads.trouble is None
        await given_up(threads, release.wait)
    assert threads.lost == 2
    started = time.monotonic()
    with pytest.raises(ThreadsLost, match="all 2 threads of p"):
        await threads.run(int)
    assert time.monotonic() - started < 10
    release.set()
    await until(lambda: threads.lost == 0)
    assert await threads.run(int) == 0


async def test_who_waits_for_a_thread_is_told_when_the_last_is_lost(monkeypatch):
    monkeypatch.setattr("config.threads.PAUSE", 0.02)
    threads, release = Threads("p", most=1), threading.Event()
    first = asyncio.create_task(given_up(threads, release.wait))
    await asyncio.sleep(0)
    with pytest.raises(ThreadsLost):
        await threads.run(int)
    await first
    release.set()
    await until(lambda: threads.lost == 0)
    assert await threads.run(int) == 0  # no turn was lost on the way


async def test_a_stream_has_time_to_notice_that_nobody_reads_it():
    threads, hold = Threads("p", most=1, grace=60), threading.Event()

    def pieces():
        yield 1
        hold.wait()
        yield 2

    items = threads.items(pieces)
    assert await anext(items) == 1
    await items.aclose()
    assert (threads.lost, threads.trouble) == (0, None)
    hold.set()
    assert await threads.run(int) == 0


async def test_a_call_that_has_returned_is_never_lost():
    threads = Threads("p", most=1)
    for _ in range(200):
        assert await threads.run(int) == 0
        assert threads.lost == 0


async def test_where_no_thread_can_be_started_the_call_says_so_and_takes_no_turn(monkeypatch):
    threads = Threads("p", most=1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ThreadsLost, match="no thread can be started"):
            await threads.run(int)
    assert await threads.run(int) == 0


def refuse(_):
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def test_a_cancelled_call_leaves_its_thread_lost_and_no_turn_taken():
    threads, release = Threads("p", most=1), threading.Event()
    call = asyncio.create_task(threads.run(release.wait))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(threads.run(int))
    await asyncio.sleep(0.05)
    for task in (waiting, call):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert threads.lost == 1
    release.set()
    await until(lambda: threads.lost == 0)
    assert await threads.run(int) == 0


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("its own"), KeyError("y")])
async def test_what_a_call_raises_is_raised(error):
    def call():
        raise error

    with pytest.raises(type(error)) as caught:
        await Threads("p", most=1).run(call)
    assert caught.value is error


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(), GeneratorExit()]
)
async def test_what_would_end_more_than_the_call_ends_the_call_alone(error):
    def call():
        raise error

    with pytest.raises(ThreadEnded, match=type(error).__name__):
        await Threads("p", most=1).run(call)


async def test_a_loop_that_is_gone_is_not_told():
    release, errors = threading.Event(), []
    hook, threading.excepthook = threading.excepthook, errors.append

    async def lose():
        await given_up(Threads("p", most=1), release.wait)

    try:
        await asyncio.to_thread(asyncio.run, lose())
        release.set()
        await until(lambda: not any(each.name == "plug-in p" for each in threading.enumerate()))
    finally:
        threading.excepthook = hook
    assert not errors
