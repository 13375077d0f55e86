"""The interface through which streams reach readers on other replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from server.streams.log import StreamLog


class Relay(Protocol):
    """Publishes this process's streams, and follows those of others.

    Failures are logged, never raised: a stream goes on for its readers in this process.
    """

    copies: bool
    """Whether frames are copied to where readers elsewhere find them; else they ask this process."""

    def publish(self, stream_id: str, number: int, frame: bytes, *, last: bool) -> None:
        """Publish a frame, without waiting; `number` counts from 1, and `last` ends the stream."""
        ...

    async def find(self, stream_id: str, *, lost: Callable[[int], bytes]) -> StreamLog | None:
        """Return a log that follows another process's stream; None if there is no such stream.

        If that process dies before the stream has ended, the log ends with the frame ``lost(number)``.
        """
        ...

    async def is_read(self, stream_id: str) -> bool:
        """Tell whether one of this process's streams has readers in other processes."""
        ...

    async def forget(self, stream_id: str) -> None:
        """Delete a stream for all processes."""
        ...

    async def stop(self, stream_id: str) -> bool:
        """Let the process that writes a stream stop it, and wait for that; False if there is no such stream."""
        ...

    async def is_forgotten(self, stream_id: str) -> bool:
        """Tell whether another process has deleted one of this process's streams."""
        ...

    def watch(self, *, forgotten: Callable[[str], None], stopped: Callable[[str], None]) -> None:
        """Call one of these with the id of a stream written here that another process deletes or stops."""
        ...

    def end_all(self) -> None:
        """End all followed streams as lost, because this process stops."""
        ...

    async def close(self) -> None:
        """Publish what is left, within a second or so, and stop."""
        ...
