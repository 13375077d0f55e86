"""A job as server-sent events: ``progress`` …, then ``done`` or ``error``, then ``data: [DONE]``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.context import request_id_of
from server.api.disconnects import watch_for_disconnect
from server.api.error_handlers import log_failure
from server.api.problems import problem_of
from server.api.schemas.jobs import JobOut, job_problem
from server.api.sse import END, MEDIA_TYPE, PING
from server.errors import ShuttingDown
from server.services.jobs import JobWatchers
from server.waiting.interrupts import Interrupt
from storage.jobs.jobs import Job, JobStore

LOOK_SECONDS = 1.0
LAST_ID = "end"


class JobEvents(Response):
    """Sends a job's changes until it has ended, with exactly one ``done`` or ``error`` at the end.

    ``done`` has the job, which succeeded or was cancelled. ``error`` has a problem: the job's, with the job in ``job``,
    or that of following it, after which the client may connect again.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        job: Job,
        *,
        jobs: JobStore,
        watchers: JobWatchers,
        ping_interval: float,
        is_stopping: Callable[[], bool],
        require: Callable[[], Awaitable[None]],
    ) -> None:
        """Take what raises where the client may no longer be told."""
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._job = job
        self._jobs = jobs
        self._watchers = watchers
        self._ping_interval = ping_interval
        self._is_stopping = is_stopping
        self._require = require

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream to its end."""
        interrupt = Interrupt()
        watcher: asyncio.Task[None] | None = None
        with self._watchers.place():
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async with interrupt:
                    watcher = asyncio.create_task(watch_for_disconnect(receive, interrupt))
                    await self._tell(send, request_id=request_id_of(scope))
            except ClientDisconnect:
                scope["state"]["client_left"] = True
            finally:
                if watcher is not None:
                    watcher.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, send: Send, *, request_id: str) -> None:
        async with aclosing(self._frames(request_id)) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})

    async def _frames(self, request_id: str) -> AsyncGenerator[bytes, None]:
        number = 0
        try:
            async with aclosing(self._changes()) as changes:
                async for job in changes:
                    if job is None:
                        yield PING
                    elif job.has_ended:
                        yield _ending(job)
                        return
                    else:
                        number += 1
                        yield _frame(str(number), "progress", JobOut.of(job).model_dump_json())
        except Exception as exc:  # noqa: BLE001 (a stream ends with a word, whatever happened)
            problem = problem_of(exc, request_id=request_id)
            log_failure(exc, problem)
            document = problem.document(request_id) | {"retryable": problem.retryable}
            yield _frame(str(number + 1), "error", json.dumps(document, ensure_ascii=False)) + END

    async def _changes(self) -> AsyncGenerator[Job | None, None]:
        """Yield the job whenever it has changed, and None for each `ping_interval` without a change."""
        watched = self._jobs.watch(self._job.id)
        silent = 0.0
        next_one = asyncio.ensure_future(_next(watched))
        try:
            while True:
                await asyncio.wait({next_one}, timeout=min(LOOK_SECONDS, self._ping_interval))
                if next_one.done():
                    job = next_one.result()
                    yield job
                    if job.has_ended:
                        return
                    silent, next_one = 0.0, asyncio.ensure_future(_next(watched))
                    continue
                if self._is_stopping():
                    raise ShuttingDown
                await self._require()
                silent += min(LOOK_SECONDS, self._ping_interval)
                if silent >= self._ping_interval:
                    silent = 0.0
                    yield None
        finally:
            next_one.cancel()
            await asyncio.wait({next_one})
            if not next_one.cancelled():
                next_one.exception()  # retrieved, so that asyncio does not log it


async def _next(jobs: AsyncIterator[Job]) -> Job:
    return await anext(jobs)


def _ending(job: Job) -> bytes:
    if job.status != "failed":
        return _frame(LAST_ID, "done", JobOut.of(job).model_dump_json()) + END
    document = {**(job_problem(job) or {}), "job": JobOut.of(job).model_dump(mode="json")}
    return _frame(LAST_ID, "error", json.dumps(document, ensure_ascii=False)) + END


def _frame(own_id: str, name: str, data: str) -> bytes:
    return f"id: {own_id}\nevent: {name}\ndata: {data}\n\n".encode()
