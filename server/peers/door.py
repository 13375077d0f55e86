"""A worker's socket: the others ask there for its streams and its metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from server.peers.messages import MAX_LINE, Frame, send

Answering = Callable[[str], AsyncIterator[Frame]]
ASKING_SECONDS = 5.0


@asynccontextmanager
async def opened_door(address: Path, answers: Mapping[str, Answering]) -> AsyncIterator[None]:
    """Answer other workers while the block runs; `answers` has a function for each verb."""
    tasks: set[asyncio.Task[None]] = set()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(ASKING_SECONDS):
                line = await reader.readuntil(b"\n")
            verb, _, argument = line.decode("ascii", "replace").strip().partition(" ")
            await _answer(answers.get(verb), argument, reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(met, str(address), limit=MAX_LINE)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(address.unlink, missing_ok=True)


async def _answer(
    answering: Answering | None, argument: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if answering is None:
        return
    gone = asyncio.create_task(reader.read(1))  # ends when the other side hangs up
    writing = asyncio.create_task(_write(answering(argument), writer))
    try:
        await asyncio.wait({gone, writing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (gone, writing):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task


async def _write(frames: AsyncIterator[Frame], writer: asyncio.StreamWriter) -> None:
    async with contextlib.aclosing(frames) as given:  # type: ignore[type-var] # they are generators
        async for frame in given:
            await send(writer, frame)


async def whole(answer: Awaitable[tuple[bytes, str]]) -> AsyncIterator[Frame]:
    """Yield bytes as one frame, without their type."""
    yield Frame(1, is_last=True, data=(await answer)[0])
