"""One turn for all workers of a server."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

LOOK_SECONDS = 0.02


class SharedTurn:
    """A turn that one task of one process has at a time; a process that dies has it no longer.

    The tasks of a process take it in order; which process is next is chance. `file`: locked meanwhile; None: there is
    no other process.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._here = asyncio.Semaphore(1)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for the turn, and have it while the block runs."""
        async with self._here:
            if self._file is None:
                yield
                return
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                while not _is_locked(descriptor):  # noqa: ASYNC110 (another process's lock)
                    await asyncio.sleep(LOOK_SECONDS)
                yield
            finally:
                os.close(descriptor)  # and with it the lock


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
