"""A web server for tests, on loopback, that answers whatever a test wants, down to single bytes; with TLS if asked.

async with serve({"/": page("<p>Hello")}) as site:
    ...  # site.url("/"), site.asked
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """A request: its path with the query, and its headers by lower-case names."""

    path: str
    headers: Mapping[str, str]


Handler = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A running server.

    Attributes:
        port: that it listens on.
        routes: handlers by path without query; others are answered 404. May be changed while it runs.
        asked: requests so far, robots.txt included.
        connections: made so far.

    """

    routes: dict[str, Handler]
    scheme: str = "http"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        """Return the paths asked for, but for robots.txt."""
        return [asked.path for asked in self.asked if asked.path != "/robots.txt"]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                asked = _read(await reader.readuntil(b"\r\n\r\n"))
                self.asked.append(asked)
                await self.routes.get(asked.path.partition("?")[0], reply(404, b"nothing here"))(asked, writer)
                await writer.drain()
        writer.close()


def _read(head: bytes) -> Asked:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return Asked(first.split(" ")[1], headers)


def reply(status: int, body: bytes = b"", **headers: str) -> Handler:
    """Return a handler that always answers the same; of a header's name the underscores are hyphens."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    data = "\r\n".join([*lines, "", ""]).encode() + body

    async def handler(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return handler


def page(html: str | bytes, *, content_type: str = "text/html", **headers: str) -> Handler:
    """Return a handler for a page."""
    return reply(200, html if isinstance(html, bytes) else html.encode(), Content_Type=content_type, **headers)


def redirect(location: str, *, status: int = 302) -> Handler:
    """Return a handler that sends elsewhere."""
    return reply(status, b"elsewhere", Location=location)


def endless(block: bytes, *, pause: float = 0, head: str = "Content-Type: text/plain") -> Handler:
    """Return a handler whose body never ends; `pause` seconds lie between two blocks."""

    async def handler(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n".encode())
        while not writer.is_closing():
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause)

    return handler


@contextlib.asynccontextmanager
async def serve(
    routes: Mapping[str, Handler] | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    """Run a server on a free port of 127.0.0.1."""
    site = Site(dict(routes or {}), "http" if tls is None else "https")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(site.answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def make_tls(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's side of TLS for these names, and the file with the authority that vouches for it."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return context, file


@dataclass(frozen=True)
class Limits:
    """`ingestion.web.limits.WebLimits` for tests: fast, and lenient with nothing but the pace."""

    user_agent: str | None = None
    allowed_ports: tuple[int, ...] = (80, 443)
    allow_private: tuple[str, ...] = ()
    ca_file: Path | None = None
    robots: bool = True
    requests_per_second: float = 1000
    connect_timeout: float = 5
    read_timeout: float = 5
    total_timeout: float = 20
    max_bytes: int = 1_000_000
    max_feed_bytes: int = 500_000
    max_entries: int = 100


def limits_for(*sites: Site, **changes: object) -> Limits:
    """Return limits that let the fetcher at these servers."""
    return Limits(**{"allowed_ports": tuple(site.port for site in sites), "allow_private": ("127.0.0.0/8",), **changes})  # type: ignore[arg-type]
