"""Worker processes with bounded time and memory, for what other people's code does with hostile files."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pebble import ProcessPool

LOOK_SECONDS = 1.0
START_SECONDS = 60.0  # for a worker to start and take its work; a killed one may hold the pool's lock for ever
MAX_POOLS = 3  # in a row, of which each breaks
Result = TypeVar("Result")


class PoolBroken(Exception):
    """The pool does not work any more: pebble's does not recover from an idle worker being killed."""


def new_pool(*, workers: int, tasks: int, memory: int) -> ProcessPool:
    """Return a pool of processes; each is replaced after so many tasks, and has so many bytes of memory (Linux)."""
    from pebble import ProcessPool

    return ProcessPool(
        max_workers=workers,
        max_tasks=tasks,
        initializer=_prepare_worker,
        initargs=(memory,),
        context=multiprocessing.get_context("spawn"),
    )


async def done_in(pool: ProcessPool, work: Callable[..., Result], *arguments: Any, seconds: float) -> Result:
    """Return what `work` returns in a worker, and poll the pool meanwhile, which does not report when it breaks.

    Cancellation ends the worker; another replaces it.

    Raises:
        PoolBroken: the pool has to be replaced.
        TimeoutError: the work took longer than `seconds`.
        ProcessExpired: the worker crashed.

    """
    try:
        with interrupts_blocked():
            future = pool.schedule(work, args=arguments, timeout=seconds)
    except RuntimeError as exc:
        raise PoolBroken from exc
    working: asyncio.Future[Result] = asyncio.wrap_future(future)
    try:
        began = time.monotonic()
        while not (await asyncio.wait({working}, timeout=LOOK_SECONDS))[0]:
            is_late = not future.running() and time.monotonic() - began > START_SECONDS
            if is_late or not pool.active:
                raise PoolBroken
    finally:
        working.cancel()  # no effect if it is done
    try:
        return working.result()
    except BrokenExecutor as exc:
        raise PoolBroken from exc


def end(pool: ProcessPool) -> None:
    """End the workers at once, also those that are at work."""
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block SIGINT for threads and workers started in the block, until the workers ignore it themselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_worker(memory: int) -> None:
    """Set a worker's limits before its first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker uses one core
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
