"""Answers as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    event: sources · token … · done | error, then data: [DONE]

Exactly one ``done`` or ``error`` ends a stream, whatever happened. Nothing is queued: the next piece is asked for when
the last one is with the transport, so a slow reader slows the model's reader down.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.answers import Done, Sources, Token
from server.api.answer_schemas import DoneOut, SourcesOut
from server.api.context import request_id_of, runtime_of
from server.api.error_handlers import log_failure
from server.api.interrupts import Interrupt, OpenRequests, ShuttingDown, ended_by_disconnect, watch_for_disconnect
from server.api.problems import clean, problem_of

MEDIA_TYPE = "text/event-stream"
PING = b": ping\n\n"
END = b"data: [DONE]\n\n"
CLOSING_SECONDS = 5.0
LAST_WORD_SECONDS = 1.0
_log = structlog.get_logger(__name__)
Event = Sources | Token | Done


async def open_stream(request: Request, events: AsyncIterator[Event]) -> EventStream:
    """Run `events` up to its first one, so that an error until then is a plain problem; then answer with the stream."""
    try:
        async with ended_by_disconnect(request):
            first = await anext(events)
    except StopAsyncIteration:
        msg = "a stream ended without an event"
        raise RuntimeError(msg) from None
    except BaseException:
        await _close(events)
        raise
    return EventStream(
        first,
        events,
        ping_interval=runtime_of(request).settings.server.ping_interval,
        open_requests=request.app.state.open_requests,
    )


class EventStream(Response):
    """A response that sends events as they come, and pings while none does.

    A client that leaves ends the iteration at once: `events` is cancelled where it waits, then closed.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, first: Event, events: AsyncIterator[Event], *, ping_interval: float, open_requests: OpenRequests
    ) -> None:
        self.stream_id = uuid4().hex
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Stream-ID": self.stream_id})
        self._first = first
        self._events = events
        self._ping_interval = ping_interval
        self._open_requests = open_requests
        self._request_id = ""
        self._last_id = 0
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream to its end."""
        self._request_id = request_id_of(scope)
        try:
            ending = await self._run(receive, send)
        except ClientDisconnect:
            scope["state"]["client_left"] = True
            return
        except asyncio.CancelledError:
            # only a server that lost patience cancels us; the client shall hear why, if it still listens
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end(send, self._error(ShuttingDown())), timeout=LAST_WORD_SECONDS)
            raise
        finally:
            await _close(self._events)
        await self._end(send, ending)

    async def _run(self, receive: Receive, send: Send) -> bytes:
        """Send everything but the end; return that."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        interrupt = Interrupt()
        self._open_requests.add(interrupt)
        companions: list[asyncio.Task[None]] = []
        try:
            async with interrupt:
                companions.append(asyncio.create_task(watch_for_disconnect(receive, interrupt)))
                companions.append(asyncio.create_task(self._ping(send)))
                return await self._pump(send)
        except ClientDisconnect:
            raise
        except Exception as exc:  # noqa: BLE001 (a stream has no other place to report what it did not foresee)
            return self._error(exc)
        finally:
            self._open_requests.discard(interrupt)
            for task in companions:
                task.cancel()

    async def _pump(self, send: Send) -> bytes:
        event: Event = self._first
        while True:
            if isinstance(event, Done):
                return self._frame("done", DoneOut.of(event).model_dump_json())
            await self._send(send, self._encode(event))
            # neither a write with room in its buffer nor a generator with everything at hand lets anybody else run
            await asyncio.sleep(0)
            try:
                event = await anext(self._events)
            except StopAsyncIteration:
                msg = "a stream ended without `done`"
                raise RuntimeError(msg) from None

    def _encode(self, event: Sources | Token) -> bytes:
        if isinstance(event, Token):
            return self._frame("token", json.dumps({"token": clean(event.text)}, ensure_ascii=False))
        out = SourcesOut.of(event, request_id=self._request_id, stream_id=self.stream_id)
        return self._frame("sources", out.model_dump_json())

    def _error(self, error: Exception) -> bytes:
        problem = problem_of(error, request_id=self._request_id)
        log_failure(error, problem)
        document = problem.document(self._request_id) | {"retryable": problem.retryable}
        if problem.retry_after is not None:
            document["retry_after"] = problem.retry_after
        return self._frame("error", json.dumps(document, ensure_ascii=False))

    def _frame(self, name: str, data: str) -> bytes:
        # JSON writes line ends as escapes, so one data line always holds it
        self._last_id += 1
        return f"id: {self._last_id}\nevent: {name}\ndata: {data}\n\n".encode()

    async def _send(self, send: Send, frame: bytes) -> None:
        await send({"type": "http.response.body", "body": frame, "more_body": True})
        self._last_sent = asyncio.get_running_loop().time()

    async def _end(self, send: Send, frame: bytes) -> None:
        await send({"type": "http.response.body", "body": frame + END, "more_body": False})

    async def _ping(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        while True:
            silent = loop.time() - self._last_sent if self._last_sent else 0.0
            if silent >= self._ping_interval:
                await self._send(send, PING)
                silent = 0.0
            await asyncio.sleep(self._ping_interval - silent)


async def _close(events: AsyncIterator[Event]) -> None:
    """Close the generator, which cancels the model's call; its last words are of interest to the log only."""
    try:
        async with asyncio.timeout(CLOSING_SECONDS):
            await cast("AsyncGenerator[Any, None]", events).aclose()
    except Exception as exc:  # noqa: BLE001 (the answer has ended; nothing here may change how)
        _log.warning("a stream did not close cleanly", error=type(exc).__name__)
