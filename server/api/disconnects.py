"""Ending work whose client has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from server.waiting.interrupts import Interrupt


async def watch_for_disconnect(receive: Receive, interrupt: Interrupt) -> None:
    """Wait until the client has left, then end the work with `ClientDisconnect`; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    interrupt.now(ClientDisconnect())


@asynccontextmanager
async def ended_by_disconnect(request: Request) -> AsyncIterator[None]:
    """End the request in hand as soon as its client leaves, so that no model writes for nobody."""
    watcher = asyncio.create_task(watch_for_disconnect(request.receive, request.scope["state"]["interrupt"]))
    try:
        yield
    finally:
        watcher.cancel()
