"""Resuming streams on another worker of the same server than the one that writes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog

from server.peers.member import Member
from server.peers.messages import Frame, PeerGone, asked
from server.streams.log import MAX_BYTES, WINDOW_BYTES, FramesForgotten, LogReader, StreamLog
from server.streams.run import Run

READ, FORGET, STOP = "read", "forget", "stop"
IDLE_SECONDS = 5.0
"""How long a stream without readers is followed."""

SILENCE = 3600.0
ANSWER_SECONDS = 5.0
"""In which another worker has to say whether it has a stream, or has forgotten it."""

_log = structlog.get_logger(__name__)


class PeerRelay:
    """A `Relay`; see `server.streams.relay`. A stream's id names its worker, which is asked for the frames.

    `here` returns a stream of this worker. Nothing is published: a reader elsewhere is a reader of the run.
    """

    copies = False

    def __init__(self, member: Member, *, here: Callable[[str], Run | None]) -> None:
        self._member = member
        self._here = here
        self._following: dict[asyncio.Task[None], _Followed] = {}
        self._tell: Callable[[str], None] = lambda _: None

    def publish(self, stream_id: str, number: int, frame: bytes, *, last: bool) -> None:
        """See `Relay.publish`; there is nothing to do."""

    async def find(self, stream_id: str, *, lost: Callable[[int], bytes]) -> StreamLog | None:
        """See `Relay.find`. If the beginning of the stream was dropped, the log begins with the rest.

        A worker that does not answer in time counts as one without such a stream.
        """
        address = self._member.owner_of(stream_id)
        if address is None:
            return None
        followed = _Followed(lost)

        async def follow() -> None:
            try:
                async with asked(address, READ, stream_id) as frames:
                    await followed.follow(frames)
            except PeerGone:
                pass
            finally:
                followed.lose()

        task = asyncio.create_task(follow(), name="follow a stream of another worker")
        self._following[task] = followed
        task.add_done_callback(self._following.pop)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return followed if await followed.exists() else None
        except TimeoutError:
            task.cancel()
            _log.warning("a worker does not answer for its stream", worker=address.stem)
            return None

    async def read(self, stream_id: str) -> AsyncIterator[Frame]:
        """Yield a stream of this worker to another one: first an empty frame, with the number of the next one."""
        run = self._here(stream_id)
        if run is None or not run.resumable:
            return
        with run.reading(after=run.log.first - 1, silence=SILENCE) as reader:
            number = reader.position
            yield Frame(number + 1, is_last=False, data=b"")  # it exists, and begins here
            while (await _taken(reader)) is not None:
                for data in run.log.each(after=number, upto=reader.position):
                    number += 1
                    yield Frame(number, is_last=run.log.ended and number == run.log.last, data=data)
                reader.done()

    async def forgotten(self, stream_id: str) -> AsyncIterator[Frame]:
        """Forget a stream of this worker, which another one has deleted."""
        self._tell(stream_id)
        yield Frame(1, is_last=True, data=b"")

    async def stopped(self, stream_id: str) -> AsyncIterator[Frame]:
        """Stop a stream of this worker for another one; answer once it has ended, with nothing if there is none."""
        run = self._here(stream_id)
        if run is not None and run.resumable:
            await run.stop()
            yield Frame(1, is_last=True, data=b"")

    async def is_read(self, stream_id: str) -> bool:  # noqa: ARG002 (the protocol's)
        """See `Relay.is_read`; readers elsewhere count as readers here."""
        return False

    async def forget(self, stream_id: str) -> None:
        """See `Relay.forget`."""
        await self._told(FORGET, stream_id)

    async def stop(self, stream_id: str) -> bool:
        """See `Relay.stop`; a worker that does not answer in time counts as one without such a stream."""
        return await self._told(STOP, stream_id)

    async def _told(self, verb: str, stream_id: str) -> bool:
        """Tell the worker of a stream what to do with it; return whether it has done so."""
        address = self._member.owner_of(stream_id)
        if address is None:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS), asked(address, verb, stream_id) as frames:
                return bool([frame async for frame in frames])
        except PeerGone:
            return False  # it took its streams with it
        except TimeoutError:
            _log.warning("a worker does not answer, and keeps its stream", worker=address.stem, asked=verb)
            return False

    async def is_forgotten(self, stream_id: str) -> bool:  # noqa: ARG002 (the protocol's)
        """See `Relay.is_forgotten`; whoever deletes a stream tells its worker."""
        return False

    def watch(self, *, forgotten: Callable[[str], None], stopped: Callable[[str], None]) -> None:  # noqa: ARG002
        """See `Relay.watch`; a worker that stops a stream asks for `stopped`."""
        self._tell = forgotten

    def end_all(self) -> None:
        """See `Relay.end_all`."""
        for followed in list(self._following.values()):
            followed.lose()

    async def close(self) -> None:
        """See `Relay.close`."""
        self.end_all()
        for task in list(self._following):
            task.cancel()


async def _taken(reader: LogReader) -> bytes | None:
    try:
        return await reader.take()
    except FramesForgotten:  # the other worker's reader is too slow; its copy ends as lost
        return None


class _Followed(StreamLog):
    """A copy of another worker's stream."""

    __slots__ = ("_found", "_lost")

    def __init__(self, lost: Callable[[int], bytes]) -> None:
        super().__init__(window_bytes=WINDOW_BYTES, max_bytes=MAX_BYTES)
        self._lost = lost
        self._found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def exists(self) -> bool:
        """Wait until the owner has said so; False if it has no such stream."""
        return await asyncio.shield(self._found)

    async def follow(self, frames: AsyncIterator[Frame]) -> None:
        """Append the frames as they come, no faster than they are read."""
        async for number, is_last, data in frames:
            if not self._found.done():
                self._first = number
                self._found.set_result(True)
                continue
            self.append(data, last=is_last)
            if is_last:
                return
            while not self.has_room:
                await asyncio.wait_for(self.room(), None if self.is_read else IDLE_SECONDS)

    def lose(self) -> None:
        """End the log: with the frame that says that the rest is lost, if it has begun and not ended."""
        if not self._found.done():
            self._found.set_result(False)
        elif not self.ended:
            self.cut_off(self._lost(self.last + 1))
