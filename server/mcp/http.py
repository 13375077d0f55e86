"""MCP over HTTP: one address, POST only, stateless, so that any replica can answer any message.

Without sessions a server has nothing to say that nobody asked for, so there is no stream to open with GET (405, as the
protocol provides) and no session to DELETE. A call is answered as server-sent events or as JSON, as the SDK chooses.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from config.settings import ServerSettings
from server.api.contracts import Runtime
from server.api.scopes import Access, marked
from server.waiting.interrupts import Interrupt, OpenRequests

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
INVALID_REQUEST = -32600  # JSON-RPC's


class McpEndpoint:
    """The ASGI application behind ``/mcp``; it answers while `serving` is open.

    Calls have ``request_timeout`` seconds each and are ended by `open_requests`, with a result that says so; the
    request's own limit, which could not say it in the protocol's terms, is taken off once its body is read.
    """

    def __init__(self, settings: ServerSettings, *, open_requests: OpenRequests, version: str) -> None:
        self._settings = settings
        self._open_requests = open_requests
        self._version = version
        self._manager: _Manager | None = None

    @asynccontextmanager
    async def serving(self, runtime: Runtime) -> AsyncIterator[None]:
        """Answer with `runtime` until the block ends, which ends what is still being answered."""
        self._manager = _Manager(partial(self._load, runtime))
        try:
            yield
        finally:
            manager, self._manager = self._manager, None
            await manager.close()

    def _load(self, runtime: Runtime) -> StreamableHTTPSessionManager:
        from server.mcp.session_manager import make_manager

        return make_manager(runtime, settings=self._settings, open_requests=self._open_requests, version=self._version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["method"] != "POST":
            await _refusal()(scope, receive, send)
        elif self._manager is None:
            msg = "the server is not running"
            raise RuntimeError(msg)
        else:
            manager = await self._loaded(self._manager, scope["state"]["interrupt"])
            await manager.handle_request(scope, *self._watched(scope, receive, send))

    async def _loaded(self, manager: _Manager, interrupt: Interrupt) -> StreamableHTTPSessionManager:
        if not manager.is_loaded:  # importing the SDK is no part of the time that the request has
            interrupt.disarm()
        loaded = await manager.get()
        interrupt.rearm()
        return loaded

    def _watched(self, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Hand the time limit over to the calls as soon as the request is read; note a client that leaves early."""
        state = scope["state"]
        interrupt: Interrupt = state["interrupt"]
        read = answered = False

        async def receive_watched() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.disconnect":
                state["client_left"] = not answered
                if not read:  # the SDK would log it as a failure of its own
                    raise ClientDisconnect
            elif not message.get("more_body"):
                read = True
                interrupt.disarm()
                self._open_requests.discard(interrupt)
            return message

        async def send_watched(message: Message) -> None:
            nonlocal answered
            answered = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        return receive_watched, send_watched


class _Manager:
    """The SDK's session manager, loaded when the first message comes.

    It runs in a task of its own: what opens it must close it, and no request lives as long.
    """

    def __init__(self, load: Callable[[], StreamableHTTPSessionManager]) -> None:
        self._load = load
        self._end = asyncio.Event()
        self._ready: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_loaded(self) -> bool:
        """Tell whether `get` returns at once."""
        return self._ready is not None and self._ready.done()

    async def get(self) -> StreamableHTTPSessionManager:
        """Return it, running."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(self._ready), context=Context())  # of no request
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        """End it, and what it is still answering."""
        self._end.set()
        if self._task is not None:
            await self._task

    async def _run(self, ready: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        try:
            manager = await asyncio.to_thread(self._load)
        except Exception as exc:  # noqa: BLE001 (whoever asks is told)
            ready.set_exception(exc)
            return
        async with manager.run():
            ready.set_result(manager)
            await self._end.wait()


class McpRoute(Route):
    """The route to the endpoint, for any method; it tells the access log its name as FastAPI's routes do."""

    def __init__(self, endpoint: McpEndpoint) -> None:
        super().__init__(PATH, marked(Access(("query",)))(endpoint), include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as usual."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


def _refusal() -> Response:
    message = "send messages with POST; there are no sessions here"
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": None, "error": {"code": INVALID_REQUEST, "message": message}}
    return Response(json.dumps(body), status_code=405, media_type="application/json", headers={"Allow": "POST"})
