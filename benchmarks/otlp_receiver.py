"""An OTLP receiver that takes everything and keeps nothing: ``python -m benchmarks.otlp_receiver``; prints its URL.

It speaks OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp), and knows no more of HTTP than the
benchmark needs. ``GET`` of any address tells how many bytes it was sent.
"""

from __future__ import annotations

import asyncio
from typing import cast

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
NOTHING = ANSWER % (b"application/x-protobuf", 0, b"")


class Received:
    """How many bytes came."""

    total = 0


class Connection(asyncio.Protocol):
    """An exporter's connection, which sends one batch at a time."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Count a request's body; answer when it is whole."""
        if self._missing:
            self._take(data)
            return
        self._head, blank, body = (self._head + data).partition(b"\r\n\r\n")
        if not blank:
            return
        head, self._head = self._head.lower(), b""
        if head.startswith(b"get"):
            count = str(self._received.total).encode()
            self._transport.write(ANSWER % (b"text/plain", len(count), count))
            return
        self._missing = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        self._take(body)

    def _take(self, body: bytes) -> None:
        self._missing -= len(body)
        self._received.total += len(body)
        if self._missing <= 0:
            self._missing = 0
            self._transport.write(NOTHING)


async def main() -> None:
    """Serve until the process is ended."""
    received = Received()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(received), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import signal

    import uvloop

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
