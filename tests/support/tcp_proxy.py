"""A TCP proxy before a PostgreSQL that does to packets what networks do: swallow them, refuse, lead elsewhere.

with tcp_proxy(dsn) as proxy:
    database = await Database.open(proxy.dsn, …)
    proxy.swallow()  # connections stay open, and nobody answers; new ones, too
    proxy.forward()
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit, urlunsplit

CHUNK = 65_536


class TcpProxy:
    """See `tcp_proxy`; it runs in a thread of its own, and its methods may be called from any."""

    def __init__(self, dsn: str, *, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._aim = dsn
        self.port = 0
        self.accepted = 0

    @property
    def dsn(self) -> str:
        """The database's URL by way of this proxy."""
        parts = urlsplit(self._aim)
        user = parts.netloc.rpartition("@")[0] or "postgres"
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self.port}", query=""))

    def swallow(self) -> None:
        """Pass nothing on any more, in either direction; connections stay open."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def forward(self) -> None:
        """Pass everything on again, what was held back first."""
        self._refuses = False
        self._loop.call_soon_threadsafe(self._flows.set)

    def refuse(self) -> None:
        """Break all connections, and every new one."""
        self._refuses = True
        self._loop.call_soon_threadsafe(self._break)

    def aim(self, dsn: str) -> None:
        """Lead new connections to another server; those that are open stay where they are."""
        self._aim = dsn
        self.forward()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, until it ends or the proxy does."""
        with contextlib.suppress(asyncio.CancelledError):  # asyncio's streams would tell of it as of an error
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        await self._flows.wait()
        if self._refuses:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await _connected(self._aim)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there_writer}
        await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))
        self._open -= {writer, there_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        await self._flows.wait()  # nor does anybody learn that the other side has gone
        writer.close()

    def _break(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._flows.set()


async def _connected(dsn: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(dsn)
    if folder := parse_qs(parts.query).get("host"):
        return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
    return await asyncio.open_connection(parts.hostname, parts.port or 5432)


@contextlib.contextmanager
def tcp_proxy(dsn: str) -> Iterator[TcpProxy]:
    """Run a proxy before the PostgreSQL of a URL, until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tcp proxy", daemon=True)
    thread.start()

    async def started() -> tuple[TcpProxy, asyncio.Server]:
        proxy = TcpProxy(dsn, loop=loop)
        server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        return proxy, server

    async def stopped(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    proxy, server = asyncio.run_coroutine_threadsafe(started(), loop).result()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(stopped(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
