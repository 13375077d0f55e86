"""Connections to checked addresses: httpcore's pool over a network backend that resolves, checks and connects itself.

httpcore is used without httpx: its network backend is a public interface, and it follows no redirects and uses no
cookies, proxies, .netrc or environment variables.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import certifi
import httpcore

from ingestion.errors import FetchFailed
from ingestion.web.addresses import AddressRules

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_CONNECTIONS = 32
_KEPT_SECONDS = 5.0
_RESOLVERS = 8
_TRIED = 6  # of a name's addresses


class Resolver:
    """The system's resolver in its own threads, so that a hanging name server blocks nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host in order of preference.

        Raises:
            FetchFailed: it has none, or the name server does not respond.

        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError) as exc:
            msg = f"there is no address for {host}; check its spelling"
            raise FetchFailed(msg) from exc
        return tuple(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """Accept no more names; running look-ups end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses; a name is resolved once for each connection, and not again below."""

    def __init__(self, rules: AddressRules, *, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host.

        Raises:
            FetchRefused: one of its addresses is not allowed; no connection was tried.
            FetchFailed: it has no address.
            httpcore.ConnectError: none of them accepts a connection.
            httpcore.ConnectTimeout: that took too long.

        """
        try:
            with anyio.fail_after(timeout):
                addresses = await self._resolve(host, port)
                self._rules.check_addresses(host, addresses)
                return await self._dial(addresses[:_TRIED], port, timeout, local_address, socket_options)
        except TimeoutError as exc:
            raise httpcore.ConnectTimeout from exc

    async def _dial(
        self,
        addresses: Sequence[str],
        port: int,
        seconds: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        """Try one address after another, each for its share of the timeout."""
        share = None if seconds is None else seconds / len(addresses)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout=share, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = failure or exc
        raise failure or httpcore.ConnectError

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await self._network.sleep(seconds)


def open_pool(backend: httpcore.AsyncNetworkBackend, *, ca_file: Path | None) -> httpcore.AsyncConnectionPool:
    """Return a pool of HTTP/1.1 connections that trusts the public certificate authorities, and those in `ca_file`.

    Raises:
        OSError: `ca_file` cannot be read.
        ssl.SSLError: it holds no certificates.

    """
    context = ssl.create_default_context(cafile=certifi.where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_CONNECTIONS,
        keepalive_expiry=_KEPT_SECONDS,
        network_backend=backend,
    )
