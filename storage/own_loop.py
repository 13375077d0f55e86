"""Calls from other threads and other event loops into the one on which the database runs.

LlamaIndex calls the same store from its own threads and loops: the sync methods of an index, a fusion retriever that
asks several retrievers at a time, an index that is made with ``use_async``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from storage.errors import LoopBusy

PATIENCE = 10.0
"""Seconds in which the database's loop begins with a call; one that is blocked by its caller never would."""

BLOCKED = "the database's event loop does not take calls: it is closed, or a sync call on it waits for this one"
Result = TypeVar("Result")


def run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the database's loop and wait for it, on another thread.

    Raises:
        RuntimeError: this is the loop's own thread, which would wait for itself.
        LoopBusy: the loop does not run, or is blocked.

    """
    if _running() is loop:
        coroutine.close()
        msg = (
            "a sync method of ChunkStore was called on the event loop; await its async twin, or where LlamaIndex has"
            " none, call its sync method by asyncio.to_thread"
        )
        raise RuntimeError(msg)
    future, begun = _submitted(loop, coroutine)
    if not begun.wait(PATIENCE) and future.cancel():
        raise LoopBusy(BLOCKED)
    return future.result()


async def awaited(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Await a coroutine on the database's loop, whichever loop this is.

    Raises:
        LoopBusy: the loop does not run, or is blocked.

    """
    if _running() is loop:
        return await coroutine
    future, begun = _submitted(loop, coroutine)
    waiting = asyncio.wrap_future(future)
    try:
        await asyncio.wait({waiting}, timeout=PATIENCE)
        if not waiting.done() and not begun.is_set():
            raise LoopBusy(BLOCKED)
        return await waiting
    finally:
        waiting.cancel()  # of what goes on there when nobody waits for it any more


def _submitted(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Result]
) -> tuple[concurrent.futures.Future[Result], threading.Event]:
    begun = threading.Event()

    async def begin() -> Result:
        begun.set()
        return await coroutine

    if not loop.is_running():
        coroutine.close()
        raise LoopBusy(BLOCKED)
    return asyncio.run_coroutine_threadsafe(begin(), loop), begun


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
