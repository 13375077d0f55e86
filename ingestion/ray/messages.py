"""Messages between the command and the Ray process."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass
from typing import Any

_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Patience:
    """Timeouts in seconds.

    Attributes:
        connect: for the cluster to respond, or a local one to start.
        start: for the first actor, which may have to export the model.
        lost: for any actor to respond again after all were lost.
        call: for one call; a slower actor is replaced.
        leave: for the actors to stop.

    """

    connect: float = 60.0
    start: float = 300.0
    lost: float = 120.0
    call: float = 600.0
    leave: float = 45.0


@dataclass(frozen=True, slots=True)
class Request:
    """A call; with ``method`` None, cancels the one with this number."""

    number: int
    method: str | None
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a call."""

    number: int
    value: Any = None
    error: Exception | None = None


def write(writer: asyncio.StreamWriter, message: Request | Reply) -> None:
    """Write a message, whole."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(len(data).to_bytes(_LENGTH, "big") + data)


async def read(reader: asyncio.StreamReader) -> Any:  # noqa: ANN401 (either of the two)
    """Read a message; None at the end of the input."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 (a process of our own, over its pipe)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
