"""What passes between the command and the process that speaks with Ray."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass
from typing import Any

_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what, in seconds.

    Attributes:
        connect: for the cluster to answer, or for a local one to start.
        start: for the first actor; it may have to export the model.
        lost: for any actor to answer again, once all are lost.
        call: for one call; an actor that takes longer is replaced.
        leave: for the actors to end.

    """

    connect: float = 60.0
    start: float = 300.0
    lost: float = 120.0
    call: float = 600.0
    leave: float = 45.0


@dataclass(frozen=True, slots=True)
class Request:
    """A call; ``method`` None takes back the one of this number."""

    number: int
    method: str | None
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call."""

    number: int
    value: Any = None
    error: Exception | None = None


def write(writer: asyncio.StreamWriter, message: Request | Reply) -> None:
    """Write a message, whole."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(len(data).to_bytes(_LENGTH, "big") + data)


async def read(reader: asyncio.StreamReader) -> Any:  # noqa: ANN401 (either of the two)
    """Read a message; None where the other side has ended."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 (a process of our own, over its pipe)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
