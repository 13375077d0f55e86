"""Accepting connections, one at a time, so that processes that share a port get their parts, and closing the port.

libuv and asyncio accept until nothing waits: of 256 clients that come at once one worker would get most, and they would
wait while another has nothing to do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable, Sized
from contextlib import suppress

import structlog

YIELDED_SECONDS = 50e-6
"""For so long a worker leaves the next connection to others, for each that it has."""
LONGEST_YIELD = 2e-3
EXHAUSTED_SECONDS = 1.0
"""Pause where the system has no more descriptors, as asyncio makes it."""
EMPTYING_SECONDS = 0.25
"""At most, for the connections that wait in a port's queue before it is closed."""
_UNACKED = struct.Struct("=24xI")
"""``tcp_info``'s fifth word, `tcpi_unacked`: of a listening socket the length of its queue (Linux, net/ipv4/tcp.c)."""
_log = structlog.get_logger(__name__)


class AcceptingSocket:
    """Serves connections of one listening socket until it is closed; uvicorn treats it like an `asyncio.Server`.

    Args:
        sock: listening and non-blocking; it is not closed here.
        protocol: makes a connection's protocol.
        connections: those of this process that are open.
        is_shared: whether other processes accept from it, too.

    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        connections: Sized,
        *,
        is_shared: bool,
    ) -> None:
        self._sock = sock
        self._protocol = protocol
        self._connections = connections
        self._is_shared = is_shared
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._sock)
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Wait for connections that were accepted last to be open; uvicorn waits for their ends itself."""
        if self._opening:
            await asyncio.wait(self._opening)

    def accept_all(self) -> None:
        """Accept what waits."""
        while self._accept():
            pass

    def _resume(self) -> None:
        self._loop.add_reader(self._sock, self._yield_or_accept)

    def _yield_or_accept(self) -> None:
        mine = len(self._connections) + len(self._opening)
        if not mine or not self._is_shared:
            self._accept()
            return
        self._wait(min(mine * YIELDED_SECONDS, LONGEST_YIELD), self._accept_and_resume)

    def _accept_and_resume(self) -> None:
        self._resume()
        self._accept()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(seconds, then)

    def _accept(self) -> bool:
        """Accept a connection; return whether one was there."""
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another process was faster
            return False
        except OSError as exc:
            if not is_listening(self._sock):
                self.close()
                return False
            _log.error("no connection can be accepted", error=exc.strerror or str(exc))
            self._wait(EXHAUSTED_SECONDS, self._resume)
            return False
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        return True

    async def _open(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # it is gone already
            connection.close()


def is_listening(sock: socket.socket) -> bool:
    """Tell whether somebody can connect."""
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # it is closed
        return False


def close_lent(sock: socket.socket) -> None:
    """Close a port from which others accept, when nothing waits in its queue, or after a quarter of a second."""
    until = time.monotonic() + EMPTYING_SECONDS
    while _queue_length(sock) and time.monotonic() < until:
        time.sleep(0.001)
    close_port(sock)


def close_port(sock: socket.socket) -> None:
    """Let the system refuse connections, whichever processes still have the socket; those in its queue are reset."""
    with suppress(OSError):  # where it does not listen, or the system knows no such thing
        sock.shutdown(socket.SHUT_RDWR)


def _queue_length(sock: socket.socket) -> int:
    if sys.platform != "linux":
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.size)
        return int(_UNACKED.unpack(info)[0])
    except (OSError, struct.error):
        return 0
