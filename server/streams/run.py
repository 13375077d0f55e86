"""An answer that is being written, with or without readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import structlog

from config.errors import slug_of
from config.settings import StreamSettings
from config.telemetry.metrics import STREAM_ENDINGS
from server.answers import UNFINISHED, Answer, Event, Transcript
from server.errors import DeadlineExceeded, StreamAbandoned, StreamStopped
from server.principal import principal
from server.streams.log import MAX_BYTES, WINDOW_BYTES, LogReader, StreamLog
from server.streams.relay import Relay
from server.waiting.interrupts import Interrupt

CLOSING_SECONDS = 5.0
STOPPING_SECONDS = 3.0
SILENCE = 60.0
AT_HAND = 8
"""Frames written before other tasks get a turn, if the model's tokens are all available at once; sent together."""

_log = structlog.get_logger(__name__)


class Encoder(Protocol):
    """Encodes events as the bytes that clients read; `number` counts a stream's frames from 1."""

    def event(self, event: Event, *, number: int, stream_id: str) -> bytes:
        """Return the frame of an event; that of `Done` includes the stream's end mark."""
        ...

    def error(self, error: Exception, *, number: int) -> bytes:
        """Return the frame of an error, including the end mark."""
        ...


class Run:
    """Writes an answer's events into a `StreamLog`, in a task of its own, up to exactly one terminal frame.

    Without readers it ends early: after the grace time if a client may come back, else at once. Clients can come back
    to a `resumable` run once its first frame has told them its id, and to a `keyed` one (idempotency key) always.

    Attributes:
        id: unguessable; whoever knows it may read the stream.
        holder: who asked for it; None: nobody said so.
        log: the frames so far.

    """

    is_mirror = False

    def __init__(
        self,
        events: AsyncIterator[Event],
        *,
        encoder: Encoder,
        settings: StreamSettings,
        stream_id: str,
        resumable: bool = True,
        keyed: bool = False,
        relay: Relay | None = None,
        on_end: Callable[[Run], None] | None = None,
        on_readers: Callable[[Run], None] | None = None,
    ) -> None:
        self.id = stream_id
        self.holder = principal()
        self.resumable = resumable
        self._keyed = keyed
        self._events = events
        self._encoder = encoder
        self._settings = settings
        self._relay = relay if resumable else None
        self.log = StreamLog(window_bytes=WINDOW_BYTES, max_bytes=MAX_BYTES, relayed=self._relay is not None)
        self._on_end = on_end
        self._on_readers = on_readers
        self._interest = 0
        self._told_to_end = False
        self._giving_up: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = loop.create_future()
        self._heard: asyncio.Future[None] = loop.create_future()
        self._answer: asyncio.Future[Answer] = loop.create_future()
        for future in (self._begun, self._heard, self._answer):
            future.add_done_callback(_retrieved)
        self._interrupt = Interrupt(after=settings.total_timeout, error=DeadlineExceeded(settings.total_timeout))
        self.task = asyncio.create_task(self._drive())

    async def begun(self) -> None:
        """Wait for the first event; raise what went wrong before it."""
        await asyncio.shield(self._begun)

    async def heard(self, *, within: float) -> None:
        """Wait for what clients read after the first frame, at most so many seconds; raise what went wrong before it.

        An answer's first frame comes before the model is asked. A protocol whose clients know errors by their HTTP
        status alone waits for the model's first piece with it.
        """
        await asyncio.wait([self._heard], timeout=within)
        if self._heard.done():
            self._heard.result()

    async def answer(self) -> Answer:
        """Wait for the end; return the complete answer or raise what went wrong."""
        with self.reading(after=self.log.last, silence=SILENCE) as reader:
            while await reader.take() is not None:
                reader.done()
        return await asyncio.shield(self._answer)

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Keep the run alive for the length of the block."""
        self._interest += 1
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
            self._readers_changed()
        try:
            yield
        finally:
            self._interest -= 1
            if not self._interest and not self.log.ended:
                self._left_alone()

    @contextmanager
    def reading(self, *, after: int, silence: float) -> Iterator[LogReader]:
        """Read the log, and keep the run alive meanwhile; see `StreamLog.reading`."""
        with self.kept_alive(), self.log.reading(after=after, silence=silence) as reader:
            yield reader

    @property
    def is_ending(self) -> bool:
        """Whether it has ended, or is about to without an answer."""
        return self.log.ended or self._interrupt.cause is not None or self._told_to_end

    def end(self, error: Exception) -> None:
        """End the run with an error, if it has not ended."""
        self._told_to_end = True
        self._interrupt.now(error)

    async def stop(self) -> None:
        """End the run, since whoever asked wants no more of it; return when it has ended, and what is kept is kept."""
        self.end(StreamStopped())
        await asyncio.wait({self.task}, timeout=STOPPING_SECONDS)

    @property
    def waits_for_readers(self) -> bool:
        """Whether it goes on for its grace time only."""
        return self._giving_up is not None

    def give_up(self) -> None:
        """End the run now if nobody reads it, though its grace time is not over."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._give_up()

    def _readers_changed(self) -> None:
        if self._on_readers is not None:
            self._on_readers(self)

    def _left_alone(self) -> None:
        may_return = self._keyed or (self.resumable and self._begun.done())
        grace = self._settings.grace if may_return else 0
        if not grace:
            self.end(StreamAbandoned())
            return
        self._giving_up = asyncio.get_running_loop().call_later(grace, self._give_up)
        self._readers_changed()

    def _give_up(self) -> None:
        self._giving_up = None
        self._readers_changed()
        if self._relay is None:
            self.end(StreamAbandoned())
        else:
            self._asking = asyncio.create_task(self._give_up_unless_read_elsewhere(self._relay))

    async def _give_up_unless_read_elsewhere(self, relay: Relay) -> None:
        read = await relay.is_read(self.id)
        if self._interest or self.log.ended:
            return
        if read:  # not counted among those that nobody reads, until it is looked at again
            self._giving_up = asyncio.get_running_loop().call_later(self._settings.grace, self._give_up)
        else:
            self.end(StreamAbandoned())

    async def _drive(self) -> None:
        try:
            async with self._interrupt:
                try:
                    await self._write()
                finally:
                    await self._close_events()  # inside the interrupt, so that the events can ask why they end
        except Exception as exc:  # noqa: BLE001 (a stream has no other place to report what it did not foresee)
            self._fail(exc)
        except asyncio.CancelledError:
            self._fail(StreamAbandoned())
            raise
        finally:
            if self._giving_up is not None:
                self._giving_up.cancel()
            if self._on_end is not None:
                self._on_end(self)

    async def _write(self) -> None:
        transcript = Transcript()
        async for event in self._events:
            answer = transcript.add(event)
            frame = self._encoder.event(event, number=self.log.last + 1, stream_id=self.id)
            self._append(frame, last=answer is not None)
            if self._begun.done() and frame and not self._heard.done():
                self._heard.set_result(None)
            if answer is not None:
                STREAM_ENDINGS.add(1, {"footnote.outcome": answer.done.finish_reason})
                self._answer.set_result(answer)
                return
            if not self._begun.done():
                self._begun.set_result(None)
            if not self.log.has_room:
                await self.log.room()
            elif self.log.last % AT_HAND == 1:  # a generator that never waits would block other tasks
                await asyncio.sleep(0)
        raise RuntimeError(UNFINISHED)

    def _append(self, frame: bytes, *, last: bool = False) -> None:
        self.log.append(frame, last=last)
        if self._relay is not None:
            self._relay.publish(self.id, self.log.last, frame, last=last)

    def _fail(self, error: Exception) -> None:
        if self.log.ended:
            return
        for future in (self._begun, self._heard):
            if not future.done():
                future.set_exception(error)
        STREAM_ENDINGS.add(1, {"footnote.outcome": slug_of(error)})
        self._append(self._encoder.error(error, number=self.log.last + 1), last=True)
        self._answer.set_exception(error)

    async def _close_events(self) -> None:
        """Close the generator, which cancels the model's call; failures of that are only logged."""
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await cast("AsyncGenerator[Any, None]", self._events).aclose()
        except Exception as exc:  # noqa: BLE001 (the answer has ended; nothing here may change how)
            _log.warning("a stream did not close cleanly", error=type(exc).__name__)


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Mark the exception as retrieved: there may be nobody to await the future."""
    if not future.cancelled():
        future.exception()
