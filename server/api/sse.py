"""Answers as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    event: sources · (token | reasoning) … · done | error, then data: [DONE]

Exactly one ``done`` or ``error`` ends a stream. A `server.streams.run.Run` writes the answer; here its frames are sent
to a client, and a slow client slows the run down.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.answers import Done, Event, Reasoning, Token, events_of
from server.api.context import ABORT, request_id_of, runtime_of
from server.api.disconnects import ended_by_disconnect, watch_for_disconnect
from server.api.error_handlers import log_failure
from server.api.problems import clean, problem_of
from server.api.schemas.answers import DoneOut, SourcesOut
from server.api.still import interrupt_unadmitted, still_admitted
from server.errors import Forbidden, InvalidEventId, StreamLost, StreamNotFound, Unauthenticated
from server.streams.log import FramesForgotten
from server.streams.run import Encoder, Run
from server.streams.streams import Readable, event_number
from server.tool_calls import CallPiece
from server.waiting.interrupts import Interrupt

MEDIA_TYPE = "text/event-stream"
PING = b": ping\n\n"
END = b"data: [DONE]\n\n"
ABORT_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class EventEncoder:
    """Footnote's own events."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def event(self, event: Event, *, number: int, stream_id: str) -> bytes:
        """See `Encoder.event`."""
        if isinstance(event, Token):
            return _frame(number, "token", json.dumps({"token": clean(event.text)}, ensure_ascii=False))
        if isinstance(event, Reasoning):
            retracts = {"retracts": True} if event.retracts else {}
            data = {"reasoning": clean(event.text), **retracts}
            return _frame(number, "reasoning", json.dumps(data, ensure_ascii=False))
        if isinstance(event, CallPiece):  # nobody can offer tools here
            return b""
        if isinstance(event, Done):
            return _frame(number, "done", DoneOut.model_validate(event).model_dump_json()) + END
        out = SourcesOut.of(event, request_id=self._request_id, stream_id=stream_id)
        return _frame(number, "sources", out.model_dump_json())

    def error(self, error: Exception, *, number: int) -> bytes:
        """See `Encoder.error`; logs what is the server's fault."""
        problem = problem_of(error, request_id=self._request_id)
        log_failure(error, problem)
        document = problem.document(self._request_id) | {"retryable": problem.retryable}
        if problem.retry_after is not None:
            document["retry_after"] = problem.retry_after
        return _frame(number, "error", json.dumps(document, ensure_ascii=False)) + END


def _frame(number: int, name: str, data: str) -> bytes:
    # JSON writes line ends as escapes, so one data line always holds it
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n".encode()


async def open_stream(request: Request, events: AsyncIterator[Event], *, encoder: Encoder) -> EventStream:
    """Answer with events in another protocol, whose streams cannot be resumed.

    Its clients know errors by their status: one before the model's first piece is a plain problem, unless the model is
    silent for longer than proxies wait.
    """
    runtime = runtime_of(request)
    run = runtime.streams.start(runtime.streams.counted(events), encoder=encoder, resumable=False)
    return await open_run(request, run, silence=runtime.settings.server.ping_interval)


async def open_run(
    request: Request, run: Run, *, headers: Mapping[str, str] | None = None, silence: float = 0.0
) -> EventStream:
    """Answer with a run's stream once it has begun: an error before its first event is a plain problem.

    For `silence` seconds, an error behind the first event is one, too: see `Run.heard`.
    """
    with run.kept_alive():
        async with ended_by_disconnect(request):
            await run.begun()
            if silence:
                await run.heard(within=silence)
            if not run.log.keeps(1):  # another reader is so far ahead that the beginning was dropped
                answer = await run.answer()
                encoder = EventEncoder(request_id_of(request.scope))
                streams = runtime_of(request).streams
                run = streams.start(events_of(answer), encoder=encoder, resumable=False)
        return _stream(request, run, stream_id=run.id, after=0, headers=headers)


async def resumed_stream(request: Request, stream_id: str, *, last_event_id: str | None) -> Response:
    """Resume a stream after `last_event_id`; answer 204 if that was its last event.

    Raises:
        StreamNotFound: there is no such stream, or it has expired.
        InvalidEventId: the stream has no event with this id.

    """
    after = event_number(last_event_id)
    encoder = EventEncoder(request_id_of(request.scope))
    found = await runtime_of(request).streams.find(
        stream_id, lost=lambda number: encoder.error(StreamLost(), number=number)
    )
    if found.log.was_cut:
        after = min(after, found.log.last - 1)
    if after > found.log.last and (found.log.ended or not found.is_mirror):
        raise InvalidEventId
    if found.log.ended and after == found.log.last:
        return Response(status_code=204)  # which tells a browser's EventSource to stay away
    if not found.log.keeps(after + 1):
        raise StreamNotFound(stream_id)
    # the key that asked is looked after where the answer is written; this one may be another
    reader = ReaderOfAnother(
        still_admitted(runtime_of(request)), lambda exc: encoder.error(exc, number=found.log.last + 1)
    )
    return _stream(request, found, stream_id=stream_id, after=after, reader=reader)


def _stream(
    request: Request,
    found: Readable,
    *,
    stream_id: str,
    after: int,
    headers: Mapping[str, str] | None = None,
    reader: ReaderOfAnother | None = None,
) -> EventStream:
    settings = runtime_of(request).settings
    return EventStream(
        found,
        stream_id=stream_id,
        after=after,
        ping_interval=settings.server.ping_interval,
        headers=headers or {},
        reader=reader,
    )


class _NoLongerAdmitted(Exception):
    """Whoever reads a stream may no longer; `why` says why."""

    def __init__(self, why: Forbidden | Unauthenticated) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(frozen=True, slots=True)
class ReaderOfAnother:
    """Somebody who reads a stream that may have been asked for with another key.

    Attributes:
        require: raises where he may no longer.
        last_frame: returns the frame that tells him so.

    """

    require: Callable[[], Awaitable[None]]
    last_frame: Callable[[Exception], bytes]

    async def watch(self, interrupt: Interrupt) -> None:
        """Interrupt when he may no longer."""
        await interrupt_unadmitted(interrupt, require=self.require, told=_NoLongerAdmitted)


async def _abort(scope: Scope, receive: Receive) -> None:
    """Close the connection at once, although the client has not read everything."""
    if abort := scope.get("extensions", {}).get(ABORT):
        abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(ABORT_SECONDS):
                while (await receive())["type"] != "http.disconnect":
                    pass


class _ClientStalled(Exception):
    """A client reads too slowly for what is kept of its stream."""


class EventStream(Response):
    """Sends a stream's frames as they come, and pings in between."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        found: Readable,
        *,
        stream_id: str,
        after: int,
        ping_interval: float,
        headers: Mapping[str, str],
        reader: ReaderOfAnother | None = None,
    ) -> None:
        self._admitted = reader
        self.status_code = 200
        self.background = None
        own = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Stream-ID": stream_id}
        self.init_headers({**own, **headers})
        # opened here, since the response may begin after the run's grace time
        self._lent = found.reading(after=after, silence=ping_interval)
        self._reader = self._lent.__enter__()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream to its end."""
        interrupt = Interrupt()
        watchers: list[asyncio.Task[None]] = []
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with interrupt:
                watchers.append(asyncio.create_task(watch_for_disconnect(receive, interrupt)))
                if self._admitted is not None:
                    watchers.append(asyncio.create_task(self._admitted.watch(interrupt)))
                await self._pump(send)
        except _NoLongerAdmitted as exc:
            if self._admitted is not None:
                last = self._admitted.last_frame(exc.why)
                await send({"type": "http.response.body", "body": last, "more_body": True})
        except ClientDisconnect:
            scope["state"]["client_left"] = True
        except _ClientStalled:
            scope["state"]["client_left"] = True
            await _abort(scope, receive)
        finally:
            for watcher in watchers:
                watcher.cancel()
            self._lent.__exit__(None, None, None)
        # even if the client is gone: the middleware must see a complete response
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        while (frames := await self._take()) is not None:
            await send({"type": "http.response.body", "body": frames or PING, "more_body": True})
            self._reader.done()

    async def _take(self) -> bytes | None:
        try:
            return await self._reader.take()
        except FramesForgotten:  # another reader of the same stream is far ahead
            _log.info("a client fell behind its stream")
            raise _ClientStalled from None
