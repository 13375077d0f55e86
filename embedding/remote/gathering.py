"""The texts of one call, in batches, and their vectors, as the answers bring them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedding.errors import EmbeddingUnavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding.remote.provider import Reply

    Told = Callable[[Sequence[int], NDArray[np.float32]], Awaitable[None]]
    """Is told of each request's vectors and the places of their texts, on the model's own loop, and waited for."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that may go together.

    Attributes:
        places: of the texts among those of the call.
        lengths: of the texts, in tokens, as counted here.

    """

    places: Sequence[int]
    texts: Sequence[str]
    lengths: Sequence[int]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.places[part], self.texts[part], self.lengths[part])


class Gathered:
    """The vectors of a call.

    Attributes:
        vectors: shape (texts, dimension), float32, whole once all batches were taken.
        tokens: that the provider counted, or that were counted here where it does not.

    """

    def __init__(self, texts: int, *, dimension: int, told: Told | None = None) -> None:
        self.vectors: NDArray[np.float32] = np.empty((texts, dimension), dtype=np.float32)
        self.tokens = 0
        self._told = told

    async def take(self, batch: Batch, reply: Reply) -> None:
        """Put the answer's vectors in their places, and tell of them."""
        self.vectors[list(batch.places)] = reply.vectors
        self.tokens += sum(batch.lengths) if reply.tokens is None else reply.tokens
        if self._told is not None:
            await self._told(batch.places, reply.vectors)


async def all_of(batches: Sequence[Batch], one: Callable[[Batch], Coroutine[Any, Any, None]]) -> None:
    """Await `one` for all batches at once; the first failure cancels the others.

    Raises:
        Exception: what `one` raises; of several, one that will not pass before one that may.

    """
    try:
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(one(batch))
    except ExceptionGroup as failures:
        raise _first_of(failures) from None


def _first_of(failures: ExceptionGroup[Exception]) -> Exception:
    found = [_first_of(each) if isinstance(each, ExceptionGroup) else each for each in failures.exceptions]
    return min(found, key=lambda error: isinstance(error, EmbeddingUnavailable) and error.retryable)
