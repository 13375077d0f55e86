"""The time limit of many short waits, beside what `asyncio.timeout` does."""

from __future__ import annotations

import asyncio
import time

import pytest

from server.waiting.patience import Patience


def soon(seconds: float = 0.02) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_wait_that_takes_too_long_ends_with_a_timeout_and_the_task_goes_on() -> None:
    patience = Patience()
    with pytest.raises(TimeoutError), patience.until(soon()):
        await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)
    patience.close()


async def test_each_of_many_waits_has_its_own_time() -> None:
    patience = Patience()
    for _ in range(10):  # five times as long in all as one may take
        with patience.until(soon(0.2)):
            await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError), patience.until(soon(0.05)):
        await asyncio.sleep(60)
    patience.close()


async def test_a_shorter_limit_than_the_one_before_counts() -> None:
    patience = Patience()
    with patience.until(soon(3600)):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), patience.until(soon()):
        await asyncio.sleep(60)
    patience.close()


async def test_nothing_ends_what_comes_between_two_waits() -> None:
    patience = Patience()
    with patience.until(soon()):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    with patience.until(soon(60)):
        await asyncio.sleep(0.05)
    patience.close()


async def test_waits_of_several_tasks_one_after_the_other_end_in_their_own() -> None:
    patience = Patience()

    async def wait() -> None:
        with patience.until(soon()):
            await asyncio.sleep(60)

    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.create_task(wait())
    patience.close()


async def test_a_cancellation_by_others_stays_one() -> None:
    patience = Patience()

    async def wait() -> None:
        with patience.until(soon(60)):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()


async def test_a_cancellation_in_the_same_moment_as_the_limit_is_not_lost() -> None:
    patience, due = Patience(), soon()

    async def wait() -> None:
        with patience.until(due):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    asyncio.get_running_loop().call_at(due, task.cancel)
    await asyncio.sleep(0)  # it waits now
    time.sleep(0.05)  # noqa: ASYNC251 (both timers are to go off in one turn of the loop)
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()


async def test_what_goes_wrong_within_a_wait_comes_out_as_it_is() -> None:
    patience = Patience()
    with pytest.raises(ZeroDivisionError), patience.until(soon(60)):
        raise ZeroDivisionError
    patience.close()
