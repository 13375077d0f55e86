"""What the two ends of a link say to each other: pickles with their lengths in front."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

HEAD = struct.Struct(">Q")
LONGEST = 1 << 30
"""Bytes; nothing that a plug-in is given, or returns, is so long."""


@dataclass(frozen=True, slots=True)
class Servant:
    """What is made in the process: ``module:class``, and the arguments that it takes; all must be picklable."""

    path: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a method of the servant's; `streams`: what it returns is iterated."""

    method: str
    arguments: tuple[Any, ...]
    streams: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody reads the call that is running any more."""


@dataclass(frozen=True, slots=True)
class Item:
    """A result, or one piece of it."""

    value: Any


@dataclass(frozen=True, slots=True)
class End:
    """The call has ended."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What a call raised, as far as another process can know it.

    Attributes:
        pickled: the exception itself, where it can be.
        is_error: whether it is an `Exception`: not what ends programs or generators.
        status, retry_after: of the HTTP response that it is about.
        trace: its traceback, as text.

    """

    pickled: bytes | None
    name: str
    text: str
    is_error: bool
    trace: str
    status: int | None = None
    retry_after: str | None = None


def encoded(frame: object) -> bytes:
    """Return a frame's bytes.

    Raises:
        Exception: something in it cannot be pickled.

    """
    data = pickle.dumps(frame, protocol=pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(data)) + data


def length_of(head: bytes) -> int:
    """Return how many bytes follow a head.

    Raises:
        ValueError: too many: the two ends have lost each other.

    """
    (length,) = HEAD.unpack(head)
    if length > LONGEST:
        msg = "a frame of a plug-in's process is too long"
        raise ValueError(msg)
    return int(length)


def decoded(data: bytes) -> Any:  # noqa: ANN401 (a frame)
    """Return a frame; both ends are ours, and run the same code with the same rights."""
    return pickle.loads(data)  # noqa: S301


def read(link: socket.socket) -> Any:  # noqa: ANN401 (a frame)
    """Read a frame; None at the end of the link.

    Raises:
        TimeoutError: it did not come in the link's time.

    """
    head = _read(link, HEAD.size)
    return None if head is None else decoded(_read(link, length_of(head)) or b"N.")


def _read(link: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = link.recv(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)
