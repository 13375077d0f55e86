"""Reading and splitting on the cluster; the bytes are read here and sent, as the nodes do not have the files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError

from ingestion.errors import ClusterUnavailable, Unreadable
from ingestion.names import reason_of
from ingestion.ray.actors import Refused, named
from ingestion.ray.pool import DEPTH, CallFailed
from ingestion.readers.process_pool import _bytes_of
from ingestion.types import Parsed, Skipped

if TYPE_CHECKING:
    from ingestion.ray.pool import ActorPool

ROOM = 256 << 20  # bytes of files in flight, in total


class SpreadParser:
    """Like `Parser`, on other machines."""

    def __init__(self, pool: ActorPool, *, max_file_bytes: int) -> None:
        self._pool = pool
        self._limit = max_file_bytes
        self._room = _Room(ROOM)

    @property
    def width(self) -> int:
        """Number of files read at once."""
        return DEPTH * self._pool.size

    async def parse(self, path: Path, /) -> Parsed | Skipped:
        """Read and split a file; return `Skipped` if it cannot be read, whatever the reason.

        Raises:
            ClusterUnavailable: the cluster is lost.

        """
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
            async with self._room.taken(min(size, self._limit)):
                data = await asyncio.to_thread(_bytes_of, path, limit=self._limit)
                return await self._parse(path, data)
        except Unreadable as exc:
            return Skipped(path, str(exc))
        except OSError as exc:
            return Skipped(path, reason_of(exc))

    async def _parse(self, path: Path, data: bytes) -> Parsed | Skipped:
        try:
            # stored once for all attempts; the reference keeps it in the object store
            stored = await asyncio.to_thread(ray.put, data)
            result = await self._pool.call("parse", path.name, stored)
        except CallFailed as exc:
            return Skipped(path, str(exc))
        except (RayError, ConnectionError) as exc:
            msg = f"the Ray cluster does not take files any more ({type(exc).__name__}); see `ray status`"
            raise ClusterUnavailable(msg) from exc
        return Skipped(path, result.reason) if isinstance(result, Refused) else named(result, path)


class _Room:
    """A limit on bytes in flight; a larger file goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        async with self._freed:
            await self._freed.wait_for(lambda: not self._used or self._used + size <= self._limit)
            self._used += size
        try:
            yield
        finally:
            async with self._freed:
                self._used -= size
                self._freed.notify_all()
