"""The command's side of the pipes to the Ray process."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import config
from ingestion.errors import ClusterUnavailable
from ingestion.ray.messages import Reply, Request, read, write


class Link:
    """Calls methods of `ingestion.ray.driver.Driver`."""

    def __init__(self, process: asyncio.subprocess.Process, *, address: str) -> None:
        assert process.stdin  # noqa: S101 (both are pipes, by `started`)
        assert process.stdout  # noqa: S101 (see above)
        self._writer, self._reader = process.stdin, process.stdout
        self._process = process
        self._address = address
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._is_over = False
        self._listening = asyncio.create_task(self._listen())

    async def call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 (what the method returns)
        """Return the result of a method, or raise its error; cancellation cancels the work.

        Raises:
            ClusterUnavailable: the process ended.

        """
        if self._is_over:
            raise self._gone()
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        write(self._writer, Request(number, method, arguments))
        try:
            return await future
        except asyncio.CancelledError:
            write(self._writer, Request(number, None))
            raise
        finally:
            del self._waiting[number]

    async def close(self, *, seconds: float) -> None:
        """Let the process leave the cluster, then end it."""
        self._writer.close()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._listening

    def kill(self) -> None:
        """End the process at once."""
        if self._process.returncode is None:
            self._process.kill()

    async def _listen(self) -> None:
        while (reply := await read(self._reader)) is not None:
            self._settle(reply)
        self._is_over = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._gone())

    def _settle(self, reply: Reply) -> None:
        future = self._waiting.get(reply.number)
        if future is None or future.done():
            return
        if reply.error is not None:
            future.set_exception(reply.error)
        else:
            future.set_result(reply.value)

    def _gone(self) -> ClusterUnavailable:
        return ClusterUnavailable(
            f"the Ray cluster at {self._address} is lost, and took the process that spoke with it along. What is "
            "committed stays: look at `ray status`, start the cluster again and repeat the command"
        )


@asynccontextmanager
async def started(*, address: str, leaving: float) -> AsyncIterator[Link]:
    """Start the process, and end it with the block; it leaves the cluster within `leaving` seconds."""
    root = str(Path(next(iter(config.__path__))).parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingestion.ray.driver"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is handled by this process
    )
    link = Link(process, address=address)
    try:
        yield link
    finally:
        await link.close(seconds=leaving)
