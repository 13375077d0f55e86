"""The HTTP server: uvicorn with further bounds, and a graceful shutdown."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from config.settings import ServerSettings
from server.api.accepting import AcceptingSocket, close_port, is_listening
from server.api.context import ABORT
from server.api.drain import Drain
from server.api.middleware.gate import OwnHosts
from server.api.one_protocol import OneProtocolParser
from server.api.problems import MALFORMED, MEDIA_TYPE, Problem
from server.api.sockets import listen, url_of

MAX_HEADER_BYTES = 65_536
MAX_PIPELINED = 32
"""Requests of one connection that wait for an answer before them; no client that is used today sends any."""
KEEP_ALIVE_SECONDS = 75  # longer than the 60 of common load balancers, which must be the first to close
HEADER_SECONDS = 75.0
"""In which a request's header must come, from its connection or its first byte on; bodies have limits of their own."""

GRACE_SECONDS = 2.0
RETIRING_LOOK_SECONDS = 0.2
LEFT_SECONDS = 1.0
"""For so long a worker that stops accepts on, so that its supervisor is the first to close the port."""
MIN_READ_RATE = 16_384
"""Bytes a second that a client must read on average while more waits for it: 30 MB take half an hour at most."""

_log = structlog.get_logger(__name__)


class BoundedHttp(HttpToolsProtocol):
    """Bounds headers to `MAX_HEADER_BYTES`, which httptools does not; answers invalid HTTP with a problem.

    Trailers are dropped: uvicorn would add them to the headers, `Authorization` and `X-Forwarded-For` among them, while
    the request is already answered (RFC 9110, 6.5.1).

    A connection on which no header comes to its end within `HEADER_SECONDS` is closed: each takes a descriptor, and
    whoever has no key can open thousands.

    A client has `write_timeout` seconds of patience. While more waits for it than the buffers take they run out, and
    reading earns them back at `MIN_READ_RATE`; while nothing waits, time does. When none are left it loses its
    connection, whatever is being sent; whoever answers it is told of the disconnect like of any other.
    """

    _header_bytes = 0
    _framing_bytes = 0  # of chunks' heads and trailers, since the last piece of a body
    _in_header = True
    _ended = False
    _reading: asyncio.TimerHandle | None = None
    _header_due: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, write_timeout: float, retiring: asyncio.Event, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser: OneProtocolParser = OneProtocolParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._retiring = retiring
        self._write_timeout = self._patience = write_timeout
        self._counted_at = self.loop.time()
        self._unread = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        super().connection_made(transport)  # type: ignore[arg-type] # as uvicorn has it
        self._await_header()

    def pause_writing(self) -> None:
        """Watch the client, for more waits to be read than the buffers take."""
        super().pause_writing()
        self._earn(self.loop.time() - self._counted_at)
        self._watch()

    def resume_writing(self) -> None:
        """Go on; the client reads."""
        super().resume_writing()
        self._watch_no_more()
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request."""
        self._watch_no_more()
        self._await_header_no_more()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._counted_at, self._unread = self.loop.time(), self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self._patience, self._look)

    def _watch_no_more(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look(self) -> None:
        self._count()
        if self._patience > 0:
            self._watch()
            return
        _log.info("a client stopped reading")
        self.scope["state"]["client_left"] = True
        self.transport.abort()

    def _await_header(self) -> None:
        if self._header_due is None:
            self._header_due = self.loop.call_later(HEADER_SECONDS, self._give_header_up)

    def _await_header_no_more(self) -> None:
        if self._header_due is not None:
            self._header_due.cancel()
            self._header_due = None

    def _give_header_up(self) -> None:
        self._header_due = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:  # an earlier request is still being answered
            self._await_header()

    def _count(self) -> None:
        """Take off the time since the client was watched, and add what it earned by reading."""
        now, read = self.loop.time(), self._unread - self.transport.get_write_buffer_size()
        self._earn(read / MIN_READ_RATE - (now - self._counted_at))
        self._counted_at = now

    def _earn(self, seconds: float) -> None:
        self._patience = min(self._write_timeout, self._patience + seconds)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a header that is too long."""
        was_in_header, self._ended = self._in_header, False
        self._framing_bytes += 0 if was_in_header else len(data)
        super().data_received(data)
        # a read in which a whole request ended was no header, or not only
        if was_in_header and self._in_header and not self._ended and not self.transport.is_closing():
            self._await_header()
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.send_400_response(f"the header is longer than {MAX_HEADER_BYTES} bytes")
        if not self._in_header and self._framing_bytes > MAX_HEADER_BYTES:
            _log.info("a client sent trailers without end")
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Be ready for a request."""
        if not self.parser.is_reframing:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        if not self.parser.is_reframing:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is dropped."""
        if self._in_header:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._framing_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Start the request."""
        if self.parser.is_reframing:
            self.parser.is_reframing = False
            return
        self._await_header_no_more()
        self._in_header, self._framing_bytes = False, 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self.transport.abort()
            msg = "too many requests wait for an answer on one connection"
            raise ValueError(msg)
        super().on_headers_complete()
        if self._retiring.is_set():  # this answer is the connection's last one
            self.cycle.keep_alive = False
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]
        # the request's task has not begun yet
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item] # not of the specification

    def on_message_complete(self) -> None:
        """Be ready for the next request's header."""
        if self.parser.awaits_body:
            return
        self._in_header, self._header_bytes, self._ended = True, 0, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with a problem, and close the connection."""
        request_id = uuid4().hex
        body = json.dumps(Problem(MALFORMED, msg).document(request_id)).encode()
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class Listener(uvicorn.Server):
    """Serves an application until `stop`; knows no signals.

    After `stop` it serves for ``drain_delay`` seconds more, while `/ready` is a 503. Then connections are refused, and
    what runs has ``shutdown_timeout`` seconds, as have requests on connections that are there; each answer ends its
    connection. What is left ends with a 503 or, if it is a stream, with an ``error`` event.

    Args:
        app: as `create_app` makes it.
        settings: timeouts.
        on_ready: called with a URL once it serves.
        supervisor: its process id, where it lent the sockets to several processes, and closes the port.

    """

    def __init__(
        self,
        app: FastAPI,
        *,
        settings: ServerSettings,
        on_ready: Callable[[str], None] | None = None,
        supervisor: int | None = None,
    ) -> None:
        self._retiring = asyncio.Event()
        http = partial(BoundedHttp, write_timeout=app.state.write_timeout, retiring=self._retiring)
        super().__init__(
            uvicorn.Config(
                app,
                http=http,  # type: ignore[arg-type] # makes one
                ws="none",
                lifespan="on",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                forwarded_allow_ips="",
                workers=1,
                reset_contextvars=True,  # else a request that was sent behind another one begins in that one's context
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=None,  # `shutdown` below has its own
            )
        )
        self._drain: Drain = app.state.drain
        self._hosts: OwnHosts = app.state.hosts
        self._settings = settings
        self._on_ready = on_ready
        self._supervisor = supervisor
        self._accepting: list[AcceptingSocket] = []
        self._sockets: list[socket.socket] = []

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Serve on bound sockets until `stop` was called and everything has ended.

        `serve` would take the process's signals over, and raise them again behind the lifespan's end.

        Raises:
            ListenError: another program was faster.

        """
        listen(sockets)  # not earlier: a connection that is refused is tried elsewhere, one that hangs is not
        await self._serve(sockets)

    def retire(self) -> None:
        """Take no more connections, and stop when those that are there have ended.

        Another process listens on the same sockets. Each answer from now on ends its connection; one on which nothing
        more comes ends after `KEEP_ALIVE_SECONDS`, as clients know.
        """
        if not self._retiring.is_set():
            self._retiring.set()
            for server in self.servers:
                server.close()
            self._leaving = asyncio.create_task(self._stop_when_left(), name="retire")

    async def _stop_when_left(self) -> None:
        while self.server_state.connections:  # noqa: ASYNC110 (uvicorn tells nobody when one ends)
            await asyncio.sleep(RETIRING_LOOK_SECONDS)
        self.stop()

    def stop(self) -> None:
        """Begin to shut down; a second call ends everything at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    def stop_once(self) -> None:
        """Begin to shut down, or go on with that."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        self._hosts.listens_on(str(sock.getsockname()[0]) for sock in sockets or ())
        await super().startup([])
        self._accepting = [self._accept(sock) for sock in sockets or ()]
        self._sockets = list(sockets or ())
        self.servers = [*self._accepting]  # type: ignore[list-item] # closed like a Server
        if self.started and sockets and self._on_ready:
            self._on_ready(url_of(sockets[0]))

    def _accept(self, sock: socket.socket) -> AcceptingSocket:
        def protocol() -> asyncio.Protocol:
            state, app_state = self.server_state, self.lifespan.state
            return self.config.http_protocol_class(config=self.config, server_state=state, app_state=app_state)  # type: ignore[call-arg]

        return AcceptingSocket(sock, protocol, self.server_state.connections, is_shared=self._supervisor is not None)

    async def main_loop(self) -> None:
        """Serve until `stop`, then drain."""
        await super().main_loop()
        self._retiring.set()
        await self._drain.run(
            delay=self._settings.drain_delay,
            patience=self._settings.shutdown_timeout,
            hurry=lambda: self.force_exit,
            close_port=self._close_port,
            connections=self.server_state.connections.__len__,
        )

    async def _close_port(self) -> None:
        """Accept what waits, and let the system refuse more, which for what a supervisor lent is that one's."""
        until = time.monotonic() + (LEFT_SECONDS if self._is_lent() else 0)
        while any(map(is_listening, self._sockets)) and time.monotonic() < until:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(LEFT_SECONDS / 100)
        for accepting, sock in zip(self._accepting, self._sockets, strict=True):
            accepting.accept_all()
            accepting.close()
            if not self._is_lent():  # or the supervisor was killed
                close_port(sock)

    def _is_lent(self) -> bool:
        return self._supervisor is not None and self._supervisor == os.getppid()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait `GRACE_SECONDS` for the last responses, then abort what is left."""
        cutting = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._cut)
        try:
            await super().shutdown(sockets)
            if self.force_exit:  # uvicorn would leave the lifespan open then
                await self.lifespan.shutdown()
        finally:
            cutting.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
