"""Ending a piece of work from outside."""

import asyncio

import pytest

from server.waiting.interrupts import Interrupt


async def test_a_block_that_is_ended_before_it_begins_ends_at_its_first_wait() -> None:
    interrupt = Interrupt()
    interrupt.now(ValueError("early"))
    with pytest.raises(ValueError, match="early"):
        async with interrupt:
            await asyncio.sleep(5)


async def test_the_first_error_counts_and_nothing_happens_after_the_end() -> None:
    interrupt = Interrupt()
    with pytest.raises(ValueError, match="first"):  # noqa: PT012 (the block is what is tested)
        async with interrupt:
            interrupt.now(ValueError("first"))
            interrupt.now(ValueError("second"))
            await asyncio.sleep(5)
    interrupt.now(ValueError("third"))
    await asyncio.sleep(0)


async def test_a_time_limit_ends_a_block_with_its_own_error_and_can_be_taken_off() -> None:
    with pytest.raises(KeyError):
        async with Interrupt(after=0.01, error=KeyError("late")):
            await asyncio.sleep(5)
    async with Interrupt(after=0.01, error=KeyError("late")) as interrupt:
        interrupt.disarm()
        await asyncio.sleep(0.05)
