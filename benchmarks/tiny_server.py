"""As much of an HTTP server as a made-up model needs: it must not be what is measured."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import cast


class Requests(asyncio.Protocol):
    """A client's connection, which asks for one answer at a time; a subclass answers."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Take a request up when it is whole."""
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if blank and len(body) >= length:
            self._received = b""
            self.asked(head[:60], body)

    def asked(self, line: bytes, body: bytes) -> None:
        """Answer a request; `line` has its method and path."""
        raise NotImplementedError


async def _serve(connection: Callable[[], Requests]) -> None:
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def run(connection: Callable[[], Requests]) -> None:
    """Print the URL, and serve until the process is ended."""
    import uvloop

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(connection))
