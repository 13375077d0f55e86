"""Footnote as it is served, with a model that answers at once: ``python -m benchmarks.footnote_app [--stalls]``.

Settings come from the environment, as always. Prints its URL when it is ready. With ``--stalls``,
``GET /benchmark/stalls`` returns the event loop's worst stalls since it was last asked.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import uvloop

from config import logging
from config.settings import Settings, load_settings
from server.engines.models.provider import Chunk, Request

ANSWER = "The manual says so in its first passage [1], and the second one agrees with it in other words [2]."
SAMPLE = 0.005  # seconds


class InstantProvider:
    """Answers with twenty words, at once."""

    name = "instant"
    model = "instant"
    is_chat = True
    doubt: str | None = None

    async def chunks(self, _: Request) -> AsyncGenerator[Chunk, None]:
        """Answer word by word."""
        for word in ANSWER.split(" "):
            yield Chunk(word + " ")
        yield Chunk(finish_reason="stop")

    async def probe(self) -> str | None:
        """Be ready."""
        return None

    async def close(self) -> None:
        """Have nothing to close."""


@dataclass
class Stalls:
    """Watches how late the event loop is; milliseconds.

    Attributes:
        busy: of the longest stalls, the milliseconds of CPU that the loop's own thread used. The rest it waited for the
            interpreter's lock or for a core.

    """

    late: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            before, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(SAMPLE)
            self.late.append((time.perf_counter() - before - SAMPLE) * 1000)
            self.busy.append((time.thread_time() - cpu) * 1000)

    def take(self) -> dict[str, list[float]]:
        """Return the worst twenty, and forget all."""
        worst = sorted(zip(self.late, self.busy, strict=True), reverse=True)[:20]
        self.late, self.busy = [], []
        return {"late": [late for late, _ in worst], "busy": [busy for _, busy in worst]}


async def serve(settings: Settings, *, watched: bool) -> None:
    """Serve until a signal comes."""
    from server.api.listener import Listener
    from server.api.sockets import bind
    from server.app import create_app
    from server.engines.models.limits import Limits
    from server.engines.models.model import LanguageModel
    from server.runtime import open_runtime
    from server.services.answers import AnswerService

    async with open_runtime(settings) as runtime:
        model = LanguageModel(
            InstantProvider(),
            limits=Limits.of(settings.llm),
            context_window=settings.llm.context_window,
            description="",
        )
        answers = AnswerService(
            runtime.database,
            generations=runtime.generations,
            embedder=runtime.embedder,
            model=model,
            settings=settings,
        )
        served = replace(runtime, model=model, answers=answers)
        app = create_app(settings, open_runtime=lambda _: nullcontext(served))
        if watched:
            stalls = Stalls()
            app.add_api_route("/benchmark/stalls", stalls.take)
            watcher = asyncio.create_task(stalls.watch())
        listener = Listener(app, settings=settings.server, on_ready=lambda url: print(url, flush=True))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, listener.stop)
        await listener.listen(bind(settings.server.host, settings.server.port))
        if watched:
            watcher.cancel()


if __name__ == "__main__":
    loaded = load_settings()
    logging.configure(loaded.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(loaded, watched="--stalls" in sys.argv))
