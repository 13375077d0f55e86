"""What workers say to each other: a line that asks, and frames that answer.

A request is one line, ``VERB argument``. The answer is a row of frames: 8 bytes of a number, 1 byte that says
whether it is the last one, 4 bytes of length (all big-endian), and as many bytes. An answer without a frame says that
there is nothing of that name.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct(">QBI")
CONNECT_SECONDS = 2.0
MAX_LINE = 4096


class Frame(NamedTuple):
    """A frame of an answer."""

    number: int
    is_last: bool
    data: bytes


class PeerGone(Exception):
    """The other worker ended, or cannot be reached."""


@asynccontextmanager
async def asked(address: Path, verb: str, argument: str) -> AsyncIterator[AsyncIterator[Frame]]:
    """Ask another worker; yield the frames of its answer as they come.

    Raises:
        PeerGone: it cannot be reached; from the iterator too.

    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(address))
    except (OSError, TimeoutError) as exc:
        raise PeerGone from exc
    try:
        writer.write(f"{verb} {argument}\n".encode())
        yield _frames(reader)
    finally:
        writer.close()


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[Frame]:
    while True:
        try:
            number, is_last, length = HEADER.unpack(await reader.readexactly(HEADER.size))
            frame = Frame(number, bool(is_last), await reader.readexactly(length))
        except asyncio.IncompleteReadError as exc:
            if exc.partial or exc.expected != HEADER.size:
                raise PeerGone from exc
            return
        except OSError as exc:
            raise PeerGone from exc
        yield frame
        if frame.is_last:
            return


async def send(writer: asyncio.StreamWriter, frame: Frame) -> None:
    """Send a frame; wait while the other side reads slowly."""
    writer.write(HEADER.pack(frame.number, frame.is_last, len(frame.data)) + frame.data)
    await writer.drain()
