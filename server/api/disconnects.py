"""Ends work whose client has disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from server.waiting.interrupts import Interrupt


async def watch_for_disconnect(receive: Receive, interrupt: Interrupt) -> None:
    """Once the client disconnects, interrupt the work with `ClientDisconnect`; call it after the body is read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    interrupt.now(ClientDisconnect())


@asynccontextmanager
async def ended_by_disconnect(request: Request) -> AsyncIterator[None]:
    """Interrupt the block as soon as the client disconnects, which cancels its calls of models."""
    watcher = asyncio.create_task(watch_for_disconnect(request.receive, request.scope["state"]["interrupt"]))
    try:
        yield
    finally:
        watcher.cancel()
