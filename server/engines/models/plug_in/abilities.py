"""What a LlamaIndex class can do: which of its methods are there, and which async ones do not block the event loop.

LlamaIndex's `CustomLLM`, and many integrations, have async methods that run the synchronous ones: awaited on the event
loop, they hold up the whole server. They are known by their code, which awaits nothing.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_index.core.llms import LLM, LLMMetadata

_WAITING = frozenset({"GET_AWAITABLE", "GET_ANEXT"})
_ASYNC_NAMES = ("achat", "astream_chat", "acomplete", "astream_complete")
_DEEPEST = 10  # decorators on top of each other


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a class can do.

    Attributes:
        is_chat: whether its chat methods are called, or those that complete a prompt.
        streams: whether it streams at all.
        is_async: whether its async methods, whole and streaming, wait without blocking.
        name: the class's.

    """

    name: str
    is_chat: bool
    streams: bool
    is_async: bool

    @property
    def told(self) -> str:
        """What it can do, and what not, for the log."""
        calls = "async" if self.is_async else "in threads: it has no async methods of its own"
        return f"{'chat' if self.is_chat else 'completion'}, {calls}" + ("" if self.streams else ", does not stream")


def abilities_of(llm: LLM, *, in_threads: bool = False) -> Abilities:
    """Find out what a model can do; `in_threads`: its async methods are not to be called."""
    kind, told = type(llm), metadata_of(llm)
    is_chat = told is None or told.is_chat_model
    whole, streaming = ("achat", "astream_chat") if is_chat else ("acomplete", "astream_complete")
    is_async = not in_threads and has_async(kind, whole)
    streams_async = not in_threads and has_async(kind, streaming)
    streams = streams_async or is_there(kind, streaming[1:])
    is_async = is_async and (streams_async or not streams)
    return Abilities(kind.__name__, is_chat=is_chat, streams=streams, is_async=is_async)


def metadata_of(llm: LLM) -> LLMMetadata | None:
    """Return what a model says of itself; None: its class does not know the model, which is newer than its list."""
    try:
        return llm.metadata
    except Exception:  # noqa: BLE001 (a class's own code)
        return None


def has_async(kind: type, name: str, *, seen: frozenset[str] = frozenset()) -> bool:
    """Tell whether an async method waits for something other than its class's synchronous methods."""
    function = innermost(inspect.getattr_static(kind, name, None))
    if function is None or not is_there(kind, name):
        return False
    codes = list(_codes(function.__code__))
    others = {other for code in codes for other in code.co_names if other in _ASYNC_NAMES} - seen - {name}
    if not all(has_async(kind, other, seen=seen | {name}) for other in others):
        return False
    return any(instruction.opname in _WAITING for code in codes for instruction in dis.get_instructions(code))


def is_there(kind: type, name: str) -> bool:
    """Tell whether a method does more than to raise `NotImplementedError`."""
    function = innermost(inspect.getattr_static(kind, name, None))
    if function is None:
        return False
    code = function.__code__
    operations = {instruction.opname for instruction in dis.get_instructions(code)}
    return "NotImplementedError" not in code.co_names or not operations.isdisjoint({"RETURN_VALUE", "YIELD_VALUE"})


def innermost(method: Any) -> FunctionType | None:  # noqa: ANN401 (whatever a class has under a name)
    """Return the function under a method's decorators: those of LlamaIndex keep it in their closure."""
    for _ in range(_DEEPEST):
        if isinstance(method, (staticmethod, classmethod)):
            method = method.__func__
        elif callable(under := getattr(method, "__wrapped__", None)) or (under := _in_closure(method)):
            method = under
        else:
            break
    return method if isinstance(method, FunctionType) else None


def _in_closure(function: Any) -> FunctionType | None:  # noqa: ANN401 (see `innermost`)
    """Return the function that a wrapper with another's name calls; None: it is no wrapper."""
    if not isinstance(function, FunctionType) or function.__code__.co_name == function.__name__:
        return None
    cells = (cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell))
    return next((each for each in cells if getattr(each, "__name__", None) == function.__name__), None)


def _is_filled(cell: Any) -> bool:  # noqa: ANN401 (types.CellType has no public name before it is filled)
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions within it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)
