"""Work that goes on beside a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running_beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine in a task until the block ends; then cancel it, and wait until it has ended.

    If it failed, that is raised at the end of the block, unless the block itself failed.
    """
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


@asynccontextmanager
async def repeated_beside(work: Callable[[], Awaitable[None]], *, seconds: float) -> AsyncIterator[None]:
    """Do work again and again, `seconds` apart, until the block ends, and once more then."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            await work()

    async with running_beside(repeat()):
        yield
    await work()
