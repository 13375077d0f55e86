"""Response bodies in bounded memory: limits on the bytes sent and on the decompressed bytes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator

from ingestion.errors import FetchFailed, FetchRefused

ACCEPTED = "gzip"
"""Of the codings this one is unpacked by a library that lets us bound what comes out of each step."""

_BLOCK = 65_536
_GZIP_WINDOW = 31  # zlib's parameter for gzip's header and trailer
_GZIP_MAGIC = b"\x1f\x8b"


async def bounded(sent: AsyncIterator[bytes], *, coding: str, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed body in blocks of at most 64 KiB.

    Args:
        sent: the body as received.
        coding: the ``Content-Encoding``.
        limit: maximum bytes, both received and decompressed.

    Raises:
        FetchRefused: it is longer, or has a coding that was not requested.
        FetchFailed: the compressed data are damaged or truncated.

    """
    blocks = _counted(sent, limit)
    if coding not in {"", "identity"}:
        blocks = _counted(_unpacked(blocks, coding), limit)
    async for block in blocks:
        yield block


async def _counted(blocks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    count = 0
    async for block in blocks:
        count += len(block)
        if count > limit:
            raise too_long(limit)
        yield block


def too_long(limit: int) -> FetchRefused:
    """Return the error for a body over the limit."""
    return FetchRefused(f"it is longer than {limit:,} bytes, the most that is taken")


async def _unpacked(blocks: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    if coding not in {"gzip", "x-gzip"}:
        msg = "the site packs its answer in a way that was not asked for"
        raise FetchRefused(msg)
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    async for block in blocks:
        rest = block
        while rest:
            if unpacker.eof:
                if not rest.startswith(_GZIP_MAGIC):
                    return  # padding after the end
                unpacker = zlib.decompressobj(_GZIP_WINDOW)
            yield _step(unpacker, rest)
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    while not unpacker.eof:
        more = _step(unpacker, b"")
        if not more:
            raise FetchFailed(_DAMAGED)
        yield more


_DAMAGED = "the site's answer is damaged or was cut short"


def _step(unpacker: zlib._Decompress, data: bytes) -> bytes:
    try:
        return unpacker.decompress(data, _BLOCK)
    except zlib.error as exc:
        raise FetchFailed(_DAMAGED) from exc
