"""All streams of this process: starting, finding and ending them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import uuid4

from config.settings import StreamSettings
from server.answers import Event
from server.errors import InvalidEventId, Overloaded, ShuttingDown, StreamNotFound, StreamStopped
from server.limits.streams import StreamSlots
from server.peers.member import Member
from server.principal import standing_of_caller
from server.streams.log import LogReader, StreamLog
from server.streams.relay import Relay
from server.streams.run import Encoder, Run

ENDING_SECONDS = 5.0
OWNER_LENGTH = 16
"""Digits at the end of a stream's id, which prove whose it is."""


class Readable(Protocol):
    """A stream that can be read from any frame on: a `Run`, or another process's."""

    log: StreamLog
    is_mirror: bool
    """Whether its log may lag behind what its clients have already received."""

    def reading(self, *, after: int, silence: float) -> AbstractContextManager[LogReader]:
        """See `Run.reading`."""
        ...


class Streams:
    """The runs of this process, and through a `Relay` those of others.

    At most `most` run at once. Those whose client has left go on for the grace time, ``max_unread`` of them: beyond
    either number the one that was left first is given up.

    A finished run is kept for ``keep`` seconds, so that a client that lost its connection can fetch the rest; all kept
    runs together take at most ``kept_bytes``.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        most: int,
        member: Member | None = None,
        slots: StreamSlots | None = None,
    ) -> None:
        self._slots = slots
        self._new_id = member.new_stream_id if member else new_stream_id
        self._settings = settings
        self._most = most
        self._relay: Relay | None = None
        self._running: dict[str, Run] = {}
        self._unread: OrderedDict[str, Run] = OrderedDict()
        self._kept: OrderedDict[str, Run] = OrderedDict()
        self._kept_bytes = 0

    def reach_others(self, relay: Relay) -> None:
        """Find streams of other processes through a relay from now on."""
        self._relay = relay
        relay.watch(forgotten=self._forget_here, stopped=self._stop_here)

    def new_id(self) -> str:
        """Return the id of a stream that belongs to the current caller, in whatever process it is looked for."""
        return owned(self._new_id())

    def __len__(self) -> int:
        """Return the number of running streams."""
        return len(self._running)

    def counted(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Return the events of a stream that counts against its caller's limit; see `StreamSlots.held`."""
        return events if self._slots is None else self._slots.held(events)

    def start(
        self,
        events: AsyncIterator[Event],
        *,
        encoder: Encoder,
        stream_id: str | None = None,
        resumable: bool = True,
        keyed: bool = False,
    ) -> Run:
        """Start a run; see `Run`. The caller must read it, or keep it alive.

        Raises:
            Overloaded: as many run as may, and each has a reader.

        """
        if len(self._running) >= self._most:
            if not self._unread:
                raise Overloaded
            self._give_up_oldest()
        run = Run(
            events,
            encoder=encoder,
            settings=self._settings,
            stream_id=stream_id or self.new_id(),
            resumable=resumable,
            keyed=keyed,
            relay=self._relay if self._relay and self._relay.copies else None,
            on_end=self._ended,
            on_readers=self._readers_changed,
        )
        self._running[run.id] = run
        return run

    def here(self, stream_id: str) -> Run | None:
        """Return a run of this process that is running or kept."""
        return self._running.get(stream_id) or self._kept.get(stream_id)

    async def find(self, stream_id: str, *, lost: Callable[[int], bytes]) -> Readable:
        """Return a stream of any process; `lost` makes its last frame if its writer dies.

        Raises:
            StreamNotFound: it does not exist, or not any more, or is of a caller who sees something else.

        """
        if not is_own(stream_id):
            raise StreamNotFound(stream_id)
        if run := self.here(stream_id):
            if self._relay is not None and await self._relay.is_forgotten(stream_id):
                self._forget_here(stream_id)
            if run.resumable:
                return run
        elif self._relay is not None and (log := await self._relay.find(stream_id, lost=lost)):
            return _Mirrored(log)
        raise StreamNotFound(stream_id)

    async def stop(self, stream_id: str) -> None:
        """End a stream of any process for all its readers, and wait for that; one that has ended stays as it is.

        Raises:
            StreamNotFound: it does not exist, or not any more, or is of a caller who sees something else.

        """
        if not is_own(stream_id):
            raise StreamNotFound(stream_id)
        if run := self.here(stream_id):
            if not run.resumable:
                raise StreamNotFound(stream_id)
            await run.stop()
        elif self._relay is None or not await self._relay.stop(stream_id):
            raise StreamNotFound(stream_id)

    async def forget(self, stream_ids: Sequence[str]) -> None:
        """End streams and delete their frames."""
        for stream_id in stream_ids:
            self._forget_here(stream_id)
        if self._relay is not None:
            for stream_id in stream_ids:
                await self._relay.forget(stream_id)

    def running(self) -> Sequence[Run]:
        """Return the runs of this process that go on."""
        return [run for run in self._running.values() if not run.is_ending]

    def end_all(self) -> None:
        """End every run with `ShuttingDown`."""
        for run in list(self._running.values()):
            run.end(ShuttingDown())
        if self._relay is not None:
            self._relay.end_all()

    async def close(self) -> None:
        """End what is still running, and wait for it for a bounded time."""
        self.end_all()
        if tasks := [run.task for run in self._running.values()]:
            await asyncio.wait(tasks, timeout=ENDING_SECONDS)
        self._kept.clear()

    def _forget_here(self, stream_id: str) -> None:
        if run := self.here(stream_id):
            run.resumable = False
            run.end(StreamNotFound(stream_id))
        self._drop(stream_id)

    def _stop_here(self, stream_id: str) -> None:
        if run := self.here(stream_id):
            run.end(StreamStopped())

    def _readers_changed(self, run: Run) -> None:
        if not run.waits_for_readers:
            self._unread.pop(run.id, None)
            return
        self._unread[run.id] = run
        while len(self._unread) > self._settings.max_unread:
            self._give_up_oldest()

    def _give_up_oldest(self) -> None:
        self._unread.popitem(last=False)[1].give_up()

    def _ended(self, run: Run) -> None:
        self._running.pop(run.id, None)
        self._unread.pop(run.id, None)
        if not run.resumable or not self._settings.keep:
            return
        self._kept[run.id] = run
        self._kept_bytes += run.log.kept_bytes
        asyncio.get_running_loop().call_later(self._settings.keep, self._drop, run.id)
        while self._kept_bytes > self._settings.kept_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, stream_id: str) -> None:
        if run := self._kept.pop(stream_id, None):
            self._kept_bytes -= run.log.kept_bytes


class _Mirrored:
    """A stream of another process, as far as it has been received."""

    is_mirror = True

    def __init__(self, log: StreamLog) -> None:
        self.log = log

    def reading(self, *, after: int, silence: float) -> AbstractContextManager[LogReader]:
        return self.log.reading(after=after, silence=silence)


def new_stream_id() -> str:
    """Return an id that cannot be guessed: 122 random bits, in hex."""
    return uuid4().hex


def owned(stream_id: str) -> str:
    """Return an id that says, to whoever knows the current caller, that it is a stream of that one's.

    It is another's for the same subject with other groups or collections, and for one of a tenant that came after. Only
    the id knows, so that it holds wherever the frames are, and nobody can forget to ask.
    """
    return stream_id + _mark(stream_id)


def is_own(stream_id: str) -> bool:
    """Tell whether an id is one of a stream of the current caller's."""
    made, mark = stream_id[:-OWNER_LENGTH], stream_id[-OWNER_LENGTH:]
    return mark == _mark(made)


def _mark(made: str) -> str:
    return hashlib.sha256(f"{standing_of_caller()}\0{made}".encode(errors="surrogatepass")).hexdigest()[:OWNER_LENGTH]


def event_number(given: str | None) -> int:
    """Return the number in a ``Last-Event-ID``; 0 if there is none.

    Raises:
        InvalidEventId: it is not a number of a stream's event.

    """
    if not given:
        return 0
    if not (given.isascii() and given.isdigit()) or len(given) > 9:  # noqa: PLR2004 (a thousand million frames)
        raise InvalidEventId
    return int(given)
