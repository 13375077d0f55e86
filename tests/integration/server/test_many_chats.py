"""As many chats at once as a server takes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import httpx
import pytest
from support.model_server import Reply


@pytest.mark.parametrize("chats", [100, pytest.param(500, marks=pytest.mark.soak)])
def test_chats_that_come_at_once_are_all_answered(stack, chats):
    stack.fresh(default=Reply())

    async def asked(url):
        limits = httpx.Limits(max_connections=chats)
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
            return await asyncio.gather(
                *(http.post("/chat", json={"message": f"How is bread baked {n}?"}) for n in range(chats))
            )

    # 500 wait for longer than the timeout in all, but the queue never stands still for as long
    impatient = {"pool_min": 1, "pool_max": 2, "acquire_timeout": 10}
    patient = {"max_wait": 120}  # a slow machine turns nobody away here
    with stack.serve(database=impatient, server=patient) as http, ThreadPoolExecutor(1) as pool:
        answers = pool.submit(copy_context().run, asyncio.run, asked(http.base_url)).result()
    assert [answer.text for answer in answers if answer.status_code != 200] == []
