"""An event loop on a thread of its own: whoever calls, from whatever loop or none, shares connections and limits.

Reading thousands of numbers from JSON does not hold up the caller's loop either.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from embedding.errors import EmbeddingUnavailable

T = TypeVar("T")


class OwnLoop:
    """Runs coroutines on its thread until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine there; cancelling the call cancels it.

        Raises:
            EmbeddingUnavailable: the loop is closed.

        """
        self._require_open(coroutine)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def run_blocking(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine; not on a thread with an event loop."""
        self._require_open(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Cancel what runs there, and end the thread."""
        if self._loop.is_closed():
            return
        self.run_blocking(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _require_open(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        if self._loop.is_closed():
            coroutine.close()
            msg = "the embedding model was closed"
            raise EmbeddingUnavailable(msg)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
