"""How many requests are sent at once."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from config.settings import EmbeddingSettings
from embedding.remote.pace import Pace


def pace_of(**changes):
    settings = {"provider": "openai_like", "base_url": "http://localhost/v1", "model": "m", "timeout": 60, **changes}
    return Pace(EmbeddingSettings(**settings), model="m")


async def a_round(pace, *, seconds, texts=None, is_serial=False):
    """Send as many requests as may be, and let all be answered, each after `seconds`; return how many that were."""
    async with AsyncExitStack() as stack:
        turns = []
        while True:
            try:
                async with asyncio.timeout(0.01):
                    turns.append(await stack.enter_async_context(pace.turn()))
            except TimeoutError:
                break
        for number, turn in enumerate(turns, start=1):
            pace.answered(turn, texts=texts or turn.texts, seconds=number * seconds if is_serial else seconds)
    return len(turns)


async def test_each_round_of_answers_doubles_what_is_sent_at_once_up_to_the_setting():
    pace = pace_of(concurrency=20)
    assert [await a_round(pace, seconds=1) for _ in range(7)] == [1, 2, 4, 8, 16, 20, 20]


@pytest.mark.parametrize(("seconds", "most"), [(1, 8), (16, 2), (12, 3), (23, 1)])
async def test_no_more_are_sent_at_once_than_a_server_that_works_on_one_after_the_other_answers_in_time(seconds, most):
    pace = pace_of(concurrency=8)
    assert max([await a_round(pace, seconds=seconds, is_serial=True) for _ in range(9)]) == most


async def test_the_short_rest_of_a_batch_does_not_make_a_slow_server_look_fast():
    pace = pace_of(concurrency=8)
    for _ in range(5):
        assert await a_round(pace, seconds=30) == 1
        assert await a_round(pace, seconds=2, texts=2) == 1


async def test_requests_that_were_under_way_together_lower_the_pace_once():
    pace = pace_of(concurrency=4)
    for _ in range(3):
        await a_round(pace, seconds=1)
    async with AsyncExitStack() as stack:
        turns = [await stack.enter_async_context(pace.turn()) for _ in range(4)]
        for turn in turns[:3]:
            pace.timed_out(turn, texts=32)
        pace.answered(turns[3], texts=32, seconds=59)  # it was sent before, and says nothing of the present
        assert pace.slowed == "slow: 1 of 4 requests at once, with 1 of 32 texts"
    assert await a_round(pace, seconds=1) == 1
    assert pace.slowed == "slow: 2 of 4 requests at once, with 16 of 32 texts"


async def test_who_leaves_while_waiting_takes_no_place():
    pace = pace_of(concurrency=1)
    async with pace.turn():
        waiting = [asyncio.create_task(a_round(pace, seconds=1)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        assert await waiting[2] == 1
        async with pace.turn():
            pass
