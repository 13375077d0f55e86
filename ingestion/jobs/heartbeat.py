"""Heartbeats of running jobs: ours are sent, and jobs of workers whose heartbeats stopped are put back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from config.errors import FootnoteError
from ingestion.jobs.retries import Progress, error_of
from storage.errors import WorkerDied
from storage.jobs.runs import JobRuns, Pulse, Run

if TYPE_CHECKING:
    from config.settings import JobSettings

TICK = 1.0  # seconds between two looks at who has progress to tell
TIDY_SECONDS = 3600.0
_log = structlog.get_logger(__name__)


class RunInHand:
    """A run of a job in this process, and what its heartbeats have told."""

    def __init__(self, runs: JobRuns, run: Run, task: asyncio.Task[object]) -> None:
        self.run = run
        self.task = task
        self.progress = Progress(runs, run)
        self.result_json = "{}"
        self.is_ending = False
        self.began = time.monotonic()
        self._beaten_at = self.began
        self._told: tuple[int, int | None] = (0, None)

    @property
    def pulse(self) -> Pulse:
        """What it has to say now."""
        return Pulse(self.run, self.progress.done, self.progress.total)

    def is_due(self, *, every: float) -> bool:
        """Tell whether it has news, or has been silent for too long."""
        has_news = (self.progress.done, self.progress.total) != self._told
        return has_news or time.monotonic() - self._beaten_at >= every

    def was_beaten(self, pulse: Pulse) -> None:
        """Take note that it was heard."""
        self._told = (pulse.done, pulse.total)
        self._beaten_at = time.monotonic()

    def lose(self) -> None:
        """Stop it: it was cancelled, another worker took it over, or its tenant was suspended."""
        if not self.is_ending:
            _log.info(
                "a job was cancelled, taken over by another worker, or its tenant suspended",
                job_id=str(self.run.job.id),
            )
            self.task.cancel()


async def send_heartbeats(runs: JobRuns, in_hand: Mapping[UUID, RunInHand], *, stalled_after: float) -> None:
    """Send heartbeats and progress of the runs in hand, for ever; stop those that are no longer this process's.

    Args:
        runs: where they are recorded.
        in_hand: by the id of the run; it may change meanwhile.
        stalled_after: seconds without a heartbeat after which others take a job up.

    """
    every = stalled_after / 6
    while True:
        await asyncio.sleep(min(TICK, every))
        pulses = [each.pulse for each in in_hand.values() if each.is_due(every=every)]
        if not pulses:
            continue
        try:
            alive = await runs.beat(pulses)
        except FootnoteError as exc:  # the next may succeed; if none does, another worker takes over
            _log.warning("no heartbeat", error=type(exc).__name__)
            continue
        for pulse in pulses:
            each = in_hand.get(pulse.run.id)
            if each is None:  # it ended meanwhile
                continue
            each.was_beaten(pulse)
            if pulse.run.id not in alive:
                each.lose()


async def rescue_stalled(runs: JobRuns, *, settings: JobSettings) -> None:
    """Put back, for ever, the jobs of workers that died, and delete jobs that ended long ago."""
    tidied = -TIDY_SECONDS
    error = error_of(WorkerDied(f"its worker ended before it did, {settings.attempts} times"))
    while True:
        with suppress(FootnoteError):  # it is repeated anyway
            rescued = await runs.rescue(stalled_after=settings.stalled_after, attempts=settings.attempts, error=error)
            if rescued:
                _log.warning("jobs of workers that are gone were taken up", jobs=rescued)
            if time.monotonic() - tidied >= TIDY_SECONDS:
                await runs.forget_old(days=settings.keep_days, failed_days=settings.keep_failed_days)
                tidied = time.monotonic()
        await asyncio.sleep(settings.stalled_after / 3)
