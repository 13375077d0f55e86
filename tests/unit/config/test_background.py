"""Work beside a block: it has ended when the block has, and its failure is not lost."""

import asyncio

import pytest

from config.background import running_beside


async def test_work_has_ended_when_the_block_has() -> None:
    seen = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # what it does last
            seen.append("ended")

    async with running_beside(work()):
        await asyncio.sleep(0)
    assert seen == ["ended"]


async def _fail() -> None:
    raise LookupError


async def _beside_a_failure(end: asyncio.Event, error: Exception | None = None) -> None:
    async with running_beside(_fail()):
        await asyncio.sleep(0)
        end.set()
        if error:
            raise error


async def test_a_failure_is_raised_at_the_end_of_the_block() -> None:
    end = asyncio.Event()
    with pytest.raises(LookupError):
        await _beside_a_failure(end)
    assert end.is_set()


async def test_a_failure_does_not_hide_the_block_s_own() -> None:
    with pytest.raises(KeyError):
        await _beside_a_failure(asyncio.Event(), KeyError())


async def test_a_cancellation_of_the_block_is_not_lost() -> None:
    async def block() -> None:
        async with running_beside(asyncio.Event().wait()):  # type: ignore[arg-type]
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
