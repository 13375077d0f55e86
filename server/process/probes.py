"""What Footnote stands on, looked at within a limit: for ``/ready``, and in the background for a metric."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field

import structlog

from config.background import running_beside
from config.telemetry.metrics import DEPENDENCY_UP, Readings

LOOK_WITHIN = 2.0
"""Seconds after which whatever has not answered counts as down."""
PROBE_SECONDS = 10.0
BUSY = "busy: it answers others"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DependencyState:
    """The state of a dependency.

    Attributes:
        detail: a line for people.
        facts: what that line tells, for programs: their names stay.

    """

    ok: bool
    detail: str
    required: bool = True
    facts: Mapping[str, str | int] = field(default_factory=dict, hash=False)


States = Mapping[str, DependencyState]


@dataclass(frozen=True, slots=True)
class Check:
    """A look at dependencies that depend on each other.

    Attributes:
        required: names of those that the server cannot do without.
        optional: names of the others.
        answered: tells whether they have answered anybody since a moment of `time.monotonic`: what is only busy is up.

    """

    look: Callable[[], Awaitable[States]]
    required: Sequence[str] = ()
    optional: Sequence[str] = ()
    answered: Callable[[float], bool] = lambda _since: False

    def unheard(self, *, since: float) -> States:
        """The states that they have until an answer to a look comes that began then."""
        ok = self.answered(since)
        detail = BUSY if ok else f"did not answer within {LOOK_WITHIN:g} s"
        return {
            name: DependencyState(ok=ok, detail=detail, required=name in self.required)
            for name in (*self.required, *self.optional)
        }


class Probes:
    """Runs checks, each at most once at a time: whoever looks meanwhile waits for the same one.

    Of several workers one `tells` in the log what goes down and comes back; in that of the others it is a detail.
    """

    def __init__(self, *, tells: bool = True) -> None:
        self._tells = tells
        self._running: dict[str, asyncio.Task[States]] = {}
        self._last: States = {}

    async def look(self, checks: Mapping[str, Check]) -> dict[str, DependencyState]:
        """Return the states of all dependencies, at the latest after `LOOK_WITHIN` seconds and a moment."""
        began = time.monotonic()
        tasks = {name: self._started(name, check) for name, check in checks.items()}
        await asyncio.wait(tasks.values(), timeout=LOOK_WITHIN)
        states: dict[str, DependencyState] = {}
        for name, check in checks.items():
            states |= tasks[name].result() if tasks[name].done() else check.unheard(since=began)
        return states

    @asynccontextmanager
    async def repeated(self, look: Callable[[], Awaitable[States]]) -> AsyncIterator[None]:
        """Look at intervals until the block ends, for the metric ``footnote.dependency.up``."""
        with DEPENDENCY_UP.observed(self._readings):
            async with running_beside(self._repeat(look)):
                yield

    async def close(self) -> None:
        """End the checks under way."""
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values())

    def _started(self, name: str, check: Check) -> asyncio.Task[States]:
        if name not in self._running:
            # in a context of its own: it belongs to no request, and outlives the one that asked first
            task = asyncio.get_running_loop().create_task(_awaited(check.look), context=Context())
            self._running[name] = task
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return self._running[name]

    async def _repeat(self, look: Callable[[], Awaitable[States]]) -> None:
        while True:
            try:
                found = await look()
                _tell(self._last, found, is_heard=self._tells)
                self._last = found
            except Exception as exc:  # noqa: BLE001 (whatever it is, the next look may succeed; /ready tells it, too)
                _log.warning("dependencies were not looked at", error=type(exc).__name__)
            await asyncio.sleep(PROBE_SECONDS)

    def _readings(self) -> Readings:
        return [(int(state.ok), {"dependency": name}) for name, state in self._last.items()]


def _tell(before: States, now: States, *, is_heard: bool) -> None:
    """Log what is down that was not, at the start too, and what is up again.

    Of the language model the start tells itself, once for all workers.
    """
    warn, inform = (_log.warning, _log.info) if is_heard else (_log.debug, _log.debug)
    for name, state in now.items():
        if name == "workers":  # they start one after another, and their supervisor tells what happens to them
            continue
        was_ok = before[name].ok if name in before else name != "model"
        if was_ok and not state.ok:
            warn("a dependency is down", dependency=name, detail=state.detail)
        elif state.ok and not was_ok and name in before:
            inform("a dependency is up again", dependency=name, detail=state.detail)


async def _awaited(look: Callable[[], Awaitable[States]]) -> States:
    return await look()
