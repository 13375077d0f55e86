"""The frames of a stream: one writer, any number of readers, bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

WINDOW_BYTES = 65_536
"""Bytes that the model may be ahead of the fastest reader."""

MAX_BYTES = 1_048_576
"""Bytes of a stream that are kept for readers that resume it."""

MAX_AT_ONCE = 65_536
"""Maximum number of bytes that a reader takes at once, though at least one frame."""


class FramesForgotten(Exception):
    """A reader asked for frames that have been dropped."""


class StreamLog:
    """Frames of a stream, numbered from 1, as the bytes that are sent to clients.

    The newest `max_bytes` are kept, and frames that no reader has taken yet. The writer waits in `room` while it is
    `window_bytes` ahead of the fastest reader or, without readers, while the log is full: a slow reader slows the model
    down, and memory stays bounded. A `relayed` log may have readers elsewhere: it drops old frames instead of waiting.

    Attributes:
        last: number of the newest frame; 0: there is none.
        ended: whether `last` is the stream's last frame.
        was_cut: whether it was ended by `cut_off`.
        kept_bytes: total size of the frames that are kept.

    """

    __slots__ = (
        "_first",
        "_frames",
        "_max_bytes",
        "_readers",
        "_relayed",
        "_room",
        "_taken",
        "_window_bytes",
        "_written",
        "ended",
        "kept_bytes",
        "was_cut",
    )

    def __init__(self, *, window_bytes: int, max_bytes: int, relayed: bool = False) -> None:
        self._window_bytes = min(window_bytes, max_bytes)
        self._max_bytes = max_bytes
        self._relayed = relayed
        self._frames: deque[bytes] = deque()
        self._first = 1  # number of the oldest frame that is kept
        self._written = 0  # bytes, from the beginning
        self._taken = 0  # number of the newest frame that a client has received
        self._readers: set[LogReader] = set()
        self._room: asyncio.Future[None] | None = None
        self.kept_bytes = 0
        self.ended = False
        self.was_cut = False

    @property
    def last(self) -> int:
        """Number of the newest frame."""
        return self._first + len(self._frames) - 1

    @property
    def first(self) -> int:
        """Number of the oldest frame that is kept."""
        return self._first

    def keeps(self, number: int) -> bool:
        """Tell whether a frame can be read, now or in the future."""
        return number >= self._first

    def append(self, frame: bytes, *, last: bool = False) -> None:
        """Add a frame and wake the readers; `last` ends the log."""
        self._frames.append(frame)
        self._written += len(frame)
        self.kept_bytes += len(frame)
        self.ended = last
        while self.kept_bytes > self._max_bytes and (self._relayed or self._first <= self._taken):
            self.kept_bytes -= len(self._frames.popleft())
            self._first += 1
        for reader in self._readers:
            reader.wake()

    def cut_off(self, frame: bytes) -> None:
        """End the log with a frame for every reader, even those that are ahead of this copy of the log."""
        for reader in self._readers:
            reader.position = min(reader.position, self.last)
        self.append(frame, last=True)
        self.was_cut = True

    @property
    def has_room(self) -> bool:
        """Whether the writer may go on."""
        if not self._readers:
            return self._relayed or self.kept_bytes < self._max_bytes
        if any(reader.position > self.last for reader in self._readers):  # they are ahead of this copy of the log
            return True
        return self._written - max(reader.read_bytes for reader in self._readers) < self._window_bytes

    @property
    def is_read(self) -> bool:
        """Whether there are readers now."""
        return bool(self._readers)

    async def room(self) -> None:
        """Wait until the writer may go on."""
        while not self.has_room:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    @contextmanager
    def reading(self, *, after: int, silence: float) -> Iterator[LogReader]:
        """Open a reader of the frames after number `after`; `silence` is in seconds, see `LogReader.take`."""
        reader = LogReader(self, after=after, silence=silence)
        self._readers.add(reader)
        self.notify_writer()
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            reader.close()
            self.notify_writer()

    def notify_writer(self, *, taken: int = 0) -> None:
        """Wake the writer to check for room, after a client has received frame number `taken`."""
        self._taken = max(self._taken, taken)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def frames(self, *, after: int) -> tuple[bytes, int]:
        """Return the frames after number `after`, up to `MAX_AT_ONCE` bytes, and the number of the last of them.

        Raises:
            FramesForgotten: some have been dropped.

        """
        if after + 1 < self._first:
            raise FramesForgotten
        if after == self.last - 1:  # the usual case: the newest
            return self._frames[-1], self.last
        taken: list[bytes] = []
        size = 0
        for index in range(after + 1 - self._first, len(self._frames)):
            frame = self._frames[index]
            if taken and size + len(frame) > MAX_AT_ONCE:
                break
            taken.append(frame)
            size += len(frame)
        return b"".join(taken), after + len(taken)

    def each(self, *, after: int, upto: int) -> list[bytes]:
        """Return the frames after number `after` up to number `upto`, which are kept, one by one."""
        return [self._frames[number - self._first] for number in range(after + 1, upto + 1)]

    def bytes_up_to(self, number: int) -> int:
        """Return how many bytes were written up to a frame; for a dropped frame, up to the oldest that is kept."""
        behind = max(0, self.last - number)
        return self._written - sum(len(self._frames[-1 - index]) for index in range(min(behind, len(self._frames))))


class LogReader:
    """Reads a `StreamLog` from any frame on; see `StreamLog.reading`.

    Attributes:
        position: number of the last frame taken.
        read_bytes: bytes from the beginning of the stream that the client has received.

    """

    __slots__ = ("_log", "_silence", "_silent_at", "_timer", "_waiting", "position", "read_bytes")

    def __init__(self, log: StreamLog, *, after: int, silence: float) -> None:
        self._log = log
        self._silence = silence
        self._waiting: asyncio.Future[None] | None = None
        self._silent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.position = after
        self.read_bytes = log.bytes_up_to(after)

    async def take(self) -> bytes | None:
        """Return the next frames; ``b""`` after `silence` seconds without any; None after the last one.

        Raises:
            FramesForgotten: the reader fell so far behind that they have been dropped.

        """
        log = self._log
        if log.last <= self.position:
            if log.ended:
                return None
            await self._wait()
            if log.last <= self.position:
                return None if log.ended else b""
        taken, self.position = log.frames(after=self.position)
        return taken

    def done(self) -> Self:
        """Note that the client has received everything that was taken."""
        self.read_bytes = self._log.bytes_up_to(self.position)
        self._log.notify_writer(taken=self.position)
        return self

    def wake(self) -> None:
        """Wake the reader."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        self._silent_at = loop.time() + self._silence
        if self._timer is None:
            self._timer = loop.call_at(self._silent_at, self._ring)
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _ring(self) -> None:
        """Wake the reader after the silence. A timer left by an earlier wait is moved, which is cheaper."""
        loop, self._timer = asyncio.get_running_loop(), None
        if self._waiting is None:
            return  # the next wait sets a new timer
        if loop.time() < self._silent_at:
            self._timer = loop.call_at(self._silent_at, self._ring)
        else:
            self.wake()

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
