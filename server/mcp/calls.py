"""Runs calls on either transport: request ids, time limits, interruption, errors as problems, the log line."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

import structlog
from mcp.shared.exceptions import MCPError
from structlog.contextvars import bound_contextvars, get_contextvars

from config.background import running_beside
from server.api.contracts import Runtime
from server.api.error_handlers import log_failure
from server.api.problems import INVALID, Problem, problem_of
from server.api.refusals import denied
from server.api.still import interrupt_unadmitted, still_admitted
from server.errors import DeadlineExceeded, Forbidden
from server.mcp.arguments import InvalidArguments
from server.principal import principal
from server.waiting.interrupts import Interrupt, OpenRequests

GetRuntime = Callable[[], Awaitable[Runtime]]
Result = TypeVar("Result")
_log = structlog.get_logger(__name__)


def request_id() -> str:
    """Return the id of the call that is running."""
    return str(get_contextvars().get("request_id", ""))


class Calls:
    """Runs calls on the runtime, each with a limit of `seconds`; `open_requests` can end them all.

    Over HTTP a call has the id of its request, as the SDK passes the context on; over stdio it gets one of its own.
    """

    def __init__(self, get_runtime: GetRuntime, *, seconds: float, open_requests: OpenRequests) -> None:
        self._get_runtime = get_runtime
        self._seconds = seconds
        self._open_requests = open_requests

    async def run(
        self,
        work: Callable[[Runtime], Awaitable[Result]],
        *,
        name: str,
        failed: Callable[[Problem, str], Result],
    ) -> Result:
        """Return what `work` returns, or what `failed` makes of the problem and the request's id."""
        call_id = request_id() or uuid4().hex
        with bound_contextvars(request_id=call_id):
            started, outcome = time.perf_counter(), "cancelled"
            try:
                result, outcome = await self._bounded(work), "ok"
            except MCPError:
                outcome = "refused"
                raise
            except Exception as exc:  # noqa: BLE001 (the SDK would tell its message to the client)
                problem = _problem_of(exc, request_id=call_id)
                if isinstance(exc, Forbidden):
                    (await self._get_runtime()).refusals.add(denied(exc, principal(), about=f"mcp {name}"))
                log_failure(exc, problem)
                outcome = problem.kind.slug
                return failed(problem, call_id)
            finally:
                ms = round((time.perf_counter() - started) * 1000, 1)
                _log.info("mcp call", call=name, outcome=outcome, ms=ms)
            return result

    async def _bounded(self, work: Callable[[Runtime], Awaitable[Result]]) -> Result:
        interrupt = Interrupt(after=self._seconds, error=DeadlineExceeded(self._seconds))
        self._open_requests.add(interrupt)
        try:
            async with interrupt:
                runtime = await self._get_runtime()
                async with running_beside(interrupt_unadmitted(interrupt, require=still_admitted(runtime))):
                    return await work(runtime)
        finally:
            self._open_requests.discard(interrupt)


def _problem_of(error: Exception, *, request_id: str) -> Problem:
    if isinstance(error, InvalidArguments):
        return Problem(INVALID, str(error))
    return problem_of(error, request_id=request_id)
