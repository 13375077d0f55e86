"""The HTTP server: uvicorn with further bounds, and a graceful shutdown."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from config.settings import ServerSettings
from server.api.context import ABORT
from server.api.drain import Drain
from server.api.middleware.gate import OwnHosts
from server.api.problems import MALFORMED, MEDIA_TYPE, Problem
from server.api.sockets import url_of

MAX_HEADER_BYTES = 65_536
KEEP_ALIVE_SECONDS = 75  # longer than the 60 of common load balancers, which must be the first to close
GRACE_SECONDS = 2.0
RETIRING_LOOK_SECONDS = 0.2
MIN_READ_RATE = 16_384
"""Bytes a second that a client must read on average while more waits for it: 30 MB take half an hour at most."""

_log = structlog.get_logger(__name__)


class BoundedHttp(HttpToolsProtocol):
    """Bounds headers to `MAX_HEADER_BYTES`, which httptools does not; answers invalid HTTP with a problem.

    A client has `write_timeout` seconds of patience. While more waits for it than the buffers take they run out, and
    reading earns them back at `MIN_READ_RATE`; while nothing waits, time does. When none are left it loses its
    connection, whatever is being sent; whoever answers it is told of the disconnect like of any other.
    """

    _header_bytes = 0
    _in_header = True
    _ended = False
    _reading: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, write_timeout: float, retiring: asyncio.Event, **options: Any) -> None:
        super().__init__(*args, **options)
        self._retiring = retiring
        self._write_timeout = self._patience = write_timeout
        self._counted_at = self.loop.time()
        self._unread = 0

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
        super().data_received(data)
        # a read in which a whole request ended was no header, or not only
        if was_in_header and self._in_header and not self._ended and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.send_400_response(f"the header is longer than {MAX_HEADER_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._in_header = False
        super().on_headers_complete()
        if self._retiring.is_set():  # this answer is the connection's last one
            self.cycle.keep_alive = False
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]
        # the request's task has not begun yet
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item] # not of the specification

    def on_message_complete(self) -> None:
        """Be ready for the next request's header."""
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

    After `stop`, new requests get a 503 and running ones have ``shutdown_timeout`` seconds; then each ends with a 503
    or, if it is a stream, with an ``error`` event, and no connection is accepted any more.
    """

    def __init__(
        self, app: FastAPI, *, settings: ServerSettings, on_ready: Callable[[str], None] | None = None
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

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Serve on bound sockets until `stop` was called and everything has ended.

        `serve` would take the process's signals over, and raise them again behind the lifespan's end.
        """
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
        await super().startup(sockets)
        if self.started and sockets and self._on_ready:
            self._on_ready(url_of(sockets[0]))

    async def main_loop(self) -> None:
        """Serve until `stop`, then drain while still listening: clients get a 503, not a refused connection."""
        await super().main_loop()
        await self._drain.run(
            delay=self._settings.drain_delay,
            patience=max(self._settings.drain_delay, self._settings.shutdown_timeout),
            hurry=lambda: self.force_exit,
        )

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
