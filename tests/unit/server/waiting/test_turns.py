"""Turns: how many at a time, in which order, and who is refused."""

import asyncio

import pytest

from server.errors import Overloaded
from server.waiting.turns import Turns


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_run_at_a_time_and_the_others_in_their_order() -> None:
    turns, running, order = Turns(at_once=2, max_wait=60), 0, list[int]()

    async def work(number: int) -> None:
        nonlocal running
        async with turns.turn():
            running += 1
            assert running <= 2
            order.append(number)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*map(work, range(20)))
    assert order == list(range(20))


async def busy(turns: Turns, clock: Clock, *, waiting: int) -> list[asyncio.Task[None]]:
    """Let turns end once a second until the pace is known; leave one running and `waiting` behind it."""
    gates = [asyncio.Event() for _ in range(waiting + 6)]

    async def work(gate: asyncio.Event) -> None:
        async with turns.turn(may_refuse=False):
            await gate.wait()

    tasks = [asyncio.create_task(work(gate)) for gate in gates]
    await settle()
    for gate in gates[:5]:
        clock.now += 1
        gate.set()
        await settle()
    return tasks[5:]


async def test_the_wait_is_told_from_the_pace_and_one_too_long_is_refused_at_once() -> None:
    clock = Clock()
    turns = Turns(at_once=1, max_wait=4, clock=clock)
    assert turns.expected_wait == 0
    tasks = await busy(turns, clock, waiting=7)
    assert turns.expected_wait == pytest.approx(7)
    with pytest.raises(Overloaded) as refused:
        async with turns.turn():
            pass
    assert refused.value.retry_after == 3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with turns.turn():
        assert turns.expected_wait == 0


async def test_one_slow_beginning_refuses_nobody() -> None:
    clock = Clock()
    turns, gate = Turns(at_once=1, max_wait=4, clock=clock), asyncio.Event()

    async def work(begun: asyncio.Event) -> None:
        async with turns.turn():
            await begun.wait()

    first = asyncio.Event()
    tasks = [asyncio.create_task(work(first)), *(asyncio.create_task(work(gate)) for _ in range(20))]
    await settle()
    clock.now += 3  # it loaded what the others need not load
    first.set()
    await settle()
    async with asyncio.timeout(1):
        waiting = asyncio.create_task(work(gate))
        await settle()
        gate.set()
        await asyncio.gather(waiting, *tasks)


async def test_a_search_that_hangs_counts_into_the_wait() -> None:
    clock = Clock()
    turns = Turns(at_once=1, max_wait=4, clock=clock)
    tasks = await busy(turns, clock, waiting=1)
    clock.now += 31
    assert turns.expected_wait == pytest.approx(31)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_whoever_leaves_the_queue_gives_the_place_up() -> None:
    turns = Turns(at_once=1, max_wait=60)
    async with turns.turn():
        leaving = asyncio.create_task(turns.turn().__aenter__())
        await settle()
        leaving.cancel()
        await settle()
    async with asyncio.timeout(1), turns.turn():
        pass
