"""What a class really does asynchronously.

LlamaIndex's base classes have an async method for each synchronous one, whose default calls the synchronous one on the
event loop. And an ``async def`` that awaits nothing is synchronous code by another name.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable
from typing import Any, Literal

AWAITS = frozenset({"GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH"})


Way = Literal["async", "driven", "sync"]
"""How an async method is to be called: on the event loop; in a thread, since it blocks; not at all, but its synchronous
twin in a thread."""


def way_of(kind: type, name: str, *, base: type) -> Way:
    """Return how a class's async method is to be called; that of `base` is none of its own."""
    defining = next((each for each in kind.__mro__ if name in vars(each)), None)
    return "sync" if defining is None or defining in base.__mro__ else way_of_function(vars(defining)[name])


def way_of_function(method: Any) -> Way:  # noqa: ANN401 (whatever a class has under a name)
    """Return how a function, or a bound method, is to be called."""
    if awaits(method):
        return "async"
    return "driven" if inspect.iscoroutinefunction(inspect.unwrap(getattr(method, "__func__", method))) else "sync"


def awaits(method: Any) -> bool:  # noqa: ANN401 (whatever a class has under a name)
    """Tell whether a function is async and awaits something; True for one whose code cannot be seen."""
    function: Callable[..., Any] = inspect.unwrap(getattr(method, "__func__", method))
    code = getattr(function, "__code__", None)
    if code is None:
        return inspect.iscoroutinefunction(function)
    if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        return False
    return any(instruction.opname in AWAITS for instruction in dis.get_instructions(code))


def has_own(kind: type, name: str, *, base: type) -> bool:
    """Tell whether a class has a method of its own, synchronous or not: not that of `base`."""
    defining = next((each for each in kind.__mro__ if name in vars(each)), None)
    return defining is not None and defining not in base.__mro__
