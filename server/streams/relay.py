"""How streams reach readers on other replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from server.streams.log import StreamLog


class Relay(Protocol):
    """Passes this process's streams on, and brings others' here.

    What goes wrong on the way is logged, never raised: a stream goes on for those who read it here.
    """

    def publish(self, stream_id: str, number: int, frame: bytes, *, last: bool) -> None:
        """Pass a frame on, without waiting; `number` counts from 1, and `last` ends the stream."""
        ...

    async def find(self, stream_id: str, *, lost: Callable[[int], bytes]) -> StreamLog | None:
        """Return a log that follows another process's stream, or None where there is no such stream.

        Where that process dies before the stream has ended, the log ends with the frame ``lost(number)``.
        """
        ...

    async def is_read(self, stream_id: str) -> bool:
        """Tell whether somebody reads one of this process's streams elsewhere."""
        ...

    async def forget(self, stream_id: str) -> None:
        """Remove a stream for everybody."""
        ...

    async def is_forgotten(self, stream_id: str) -> bool:
        """Tell whether another process has removed one of this process's streams."""
        ...

    def watch(self, forgotten: Callable[[str], None]) -> None:
        """Call `forgotten` with the id of each stream that another process removes while it is written here."""
        ...

    def end_all(self) -> None:
        """End what follows others' streams here as if their writers were gone: this process stops."""
        ...

    async def close(self) -> None:
        """Pass on what is left, briefly, and stop."""
        ...
