"""Running a transaction again that PostgreSQL ended for a concurrent one."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from storage.errors import TransactionConflict

ATTEMPTS = 6
PAUSE = 0.02  # seconds before the second attempt; it doubles each time
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def rerun_on_conflict(
    work: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Result]]:
    """Run a function that is one transaction again, if it ended in a deadlock or a serialization failure.

    Nothing of it was written. What it does outside of the transaction must bear being done again. After `ATTEMPTS` the
    `TransactionConflict` is raised.
    """

    @functools.wraps(work)
    async def again(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        for attempt in range(1, ATTEMPTS):
            try:
                return await work(*args, **kwargs)
            except TransactionConflict:
                # by chance, or those that met would meet again
                await asyncio.sleep(PAUSE * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 (a pause, no secret)
        return await work(*args, **kwargs)

    return again
