"""The local model of a server of several processes: the supervisor runs it, the workers share it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from server.engines.models.provider import LOCAL

if TYPE_CHECKING:
    from config.settings import Settings


@asynccontextmanager
async def shared_local_model(settings: Settings, folder: Path) -> AsyncIterator[None]:
    """Run the local model beside the block if the settings name it; the workers learn in `folder` where it is.

    Where it cannot run, each worker says so and why.
    """
    if settings.llm.provider != LOCAL:
        yield
        return
    from server.engines.models.local import llama_server, missing
    from server.engines.models.shared_llama import FILE, publish

    if missing() is not None:
        yield
        return
    server = llama_server(settings)
    publish(server, folder / FILE)
    server.start()
    try:
        yield
    finally:
        await server.close()
