"""Threads that call a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding.onnx_model import Batch

T = TypeVar("T")


class ModelThreads:
    """Threads that call one model; those who ask take turns, batch by batch."""

    def __init__(self, count: int, *, name: str, settle: Callable[[], None] | None = None) -> None:
        """Start no thread yet; each calls `settle` first."""
        self._count = count
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=settle)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    async def fill(
        self, results: NDArray[Any], batches: Sequence[Batch], *, run: Callable[[Batch], NDArray[Any]]
    ) -> None:
        """Run the batches and write what comes of each at its places; end early where one fails or the caller leaves.

        Raises:
            ExceptionGroup: of what `run` raised.

        """
        left = iter(batches)

        async def work() -> None:
            for batch in left:
                results[batch.places] = await self.call(run, batch)

        async with asyncio.TaskGroup() as group:
            # a thread finds its next batch there while the event loop is at something else; but no more than that,
            # so that whoever asks meanwhile waits for two batches at most
            for _ in range(min(len(batches), 2 * self._count)):
                group.create_task(work())

    def close(self) -> None:
        """Let the calls in hand finish and end the threads."""
        self._executor.shutdown(wait=True, cancel_futures=True)
