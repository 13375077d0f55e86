"""Claims jobs, runs their handlers, keeps them alive meanwhile, and records their outcomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypeVar
from uuid import UUID, uuid4

import structlog
from opentelemetry.trace import SpanKind, StatusCode

from config.errors import FootnoteError
from config.telemetry import spans
from config.telemetry.metrics import JOB_DURATION, JOB_WAIT
from ingestion.jobs.retries import Progress, error_of, may_pass, pause_before
from storage.errors import JobTimedOut, StoreTimeout, StoreUnavailable, UnknownJobKind, WorkerDied
from storage.jobs.rows import Job, bounded_json
from storage.jobs.runs import JobRuns, Pulse, Run

if TYPE_CHECKING:
    from config.settings import JobSettings
    from ingestion.jobs.retries import Handler

TICK = 1.0  # seconds between two looks at who has progress to tell
TIDY_SECONDS = 3600.0
LAST_WORDS = 5.0  # seconds to record an outcome when the worker is to stop
Outcome = Literal["succeeded", "failed", "retried", "returned", "lost"]
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class _Held:
    """A run in hand."""

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


class JobRunner:
    """Does the jobs of one process; see `ingestion.jobs.worker.run_worker`."""

    def __init__(
        self, runs: JobRuns, handlers: Mapping[str, Handler], *, settings: JobSettings, stop: asyncio.Event
    ) -> None:
        self._runs = runs
        self._handlers = handlers
        self._settings = settings
        self._stop = stop
        self._woken = asyncio.Event()
        self._claim_id = uuid4()
        self._hand: dict[UUID, _Held] = {}

    async def work(self, *, concurrency: int, poll_seconds: float) -> None:
        """Do jobs, `concurrency` at once, until `stop` is set and those in hand have ended or were given back.

        It looks for one that is due every `poll_seconds`, whenever it is woken, and after each job.
        """
        tasks: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            self._woken.clear()
            run = await self._claim() if len(tasks) < concurrency else None
            if run is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), poll_seconds)
                continue
            task = asyncio.create_task(self._do(run))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(self._done)
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.shutdown_timeout)
            self.let_go()
            await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look at once whether a job is due, or whether to stop."""
        self._woken.set()

    def cancelled(self, job_id: UUID) -> None:
        """Stop a job, if it runs here, that was cancelled."""
        for held in self._hand.values():
            if held.run.job.id == job_id:
                self._lose(held)

    async def pulse(self) -> None:
        """Send the heartbeats and the progress of the runs in hand; stop those that are no longer this process's."""
        while True:
            await asyncio.sleep(min(TICK, self._settings.stalled_after / 6))
            pulses = [held.pulse for held in self._hand.values() if held.is_due(every=self._settings.stalled_after / 6)]
            if not pulses:
                continue
            try:
                alive = await self._runs.beat(pulses)
            except FootnoteError as exc:  # the next may succeed; if none does, another worker takes over
                _log.warning("no heartbeat", error=type(exc).__name__)
                continue
            for pulse in pulses:
                self._heard(pulse, is_ours=pulse.run.id in alive)

    async def look_after_others(self) -> None:
        """Put back the jobs of workers that died, and delete jobs that ended long ago."""
        tidied = -TIDY_SECONDS
        error = error_of(WorkerDied(f"its worker ended before it did, {self._settings.attempts} times"))
        while True:
            with suppress(FootnoteError):  # it is repeated anyway
                rescued = await self._runs.rescue(
                    stalled_after=self._settings.stalled_after, attempts=self._settings.attempts, error=error
                )
                if rescued:
                    _log.warning("jobs of workers that are gone were taken up", jobs=rescued)
                if time.monotonic() - tidied >= TIDY_SECONDS:
                    await self._runs.forget_old(
                        days=self._settings.keep_days, failed_days=self._settings.keep_failed_days
                    )
                    tidied = time.monotonic()
            await asyncio.sleep(self._settings.stalled_after / 3)

    def let_go(self) -> None:
        """Give back the jobs in hand, now."""
        for held in self._hand.values():
            if not held.is_ending:
                held.task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a job's outcome was not recorded; it will be put back", exc_info=error)
        self.wake()

    async def _claim(self) -> Run | None:
        try:
            run = await self._runs.claim(run_id=self._claim_id)
        except FootnoteError as exc:  # the next look repeats it: it may have succeeded, and only its answer be lost
            _log.warning("no job could be fetched", error=type(exc).__name__)
            return None
        self._claim_id = uuid4()
        return run

    async def _do(self, run: Run) -> None:
        """Run a job's handler, and record its outcome."""
        task = asyncio.current_task()
        if task is None:  # pragma: no cover (a coroutine runs in a task)
            raise AssertionError
        held = self._hand[run.id] = _Held(self._runs, run, task)
        job = run.job
        carrier = {"traceparent": job.traceparent} if job.traceparent else {}
        with (
            structlog.contextvars.bound_contextvars(job_id=str(job.id), job_kind=job.kind, request_id=job.request_id),
            spans.continued(carrier),
            spans.span(f"footnote.job {job.kind}", kind=SpanKind.CONSUMER, attributes=_attributes(run)) as span,
        ):
            error = await self._attempt(held)
            if error is not None:
                spans.failed(span, error)
            outcome = await _to_the_end(self._record(held, error))
            span.set_attribute("footnote.outcome", outcome)
            if outcome == "failed":  # whoever is to blame: nobody waits for the answer that would tell them
                span.set_status(StatusCode.ERROR)
            _tell(held, outcome, error)

    def _heard(self, pulse: Pulse, *, is_ours: bool) -> None:
        held = self._hand.get(pulse.run.id)
        if held is None:  # it ended meanwhile
            return
        held.was_beaten(pulse)
        if not is_ours:
            self._lose(held)

    def _lose(self, held: _Held) -> None:
        if not held.is_ending:
            _log.info("a job was cancelled, or taken over by another worker", job_id=str(held.run.job.id))
            held.task.cancel()

    async def _attempt(self, held: _Held) -> BaseException | None:
        """Do the job; return its error, a `CancelledError` where somebody wants us to let go of it."""
        job = held.run.job
        limit = asyncio.timeout(self._settings.timeout)
        try:
            async with limit:
                result = await self._handlers.get(job.kind, _unknown)(job, held.progress)
            held.result_json = bounded_json(result or {})
        except TimeoutError as exc:
            return JobTimedOut(self._settings.timeout) if limit.expired() else exc
        except asyncio.CancelledError as exc:
            # a handler's own, which nobody asked for, is a failure
            return exc if held.task.cancelling() else InterruptedError("the handler was cancelled from within")
        except Exception as exc:  # noqa: BLE001 (whatever it is, it is the job's)
            return exc
        return None

    async def _record(self, held: _Held, error: BaseException | None) -> Outcome:
        """Write what became of a run; where the database stays away, others will find it as we left it."""
        outcome, write = self._ending(held, error)
        held.is_ending = True
        try:
            is_ours = await self._insist(write)
        finally:
            self._hand.pop(held.run.id, None)
        return outcome if is_ours else "lost"

    def _ending(self, held: _Held, error: BaseException | None) -> tuple[Outcome, Callable[[], Awaitable[bool]]]:
        runs, run = self._runs, held.run
        if error is None:
            return "succeeded", lambda: runs.succeed(held.pulse, result_json=held.result_json)
        if isinstance(error, asyncio.CancelledError):
            return "returned", lambda: runs.give_back(run)
        if may_pass(error) and run.job.attempts < self._settings.attempts:
            pause = pause_before(run.job.attempts, error, settings=self._settings)
            return "retried", lambda: runs.try_later(run, pause=pause, error=error_of(error))
        return "failed", lambda: runs.fail(held.pulse, error=error_of(error))

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T | None:
        """Write, again and again while the database is away, for as long as nobody takes the job over; else None."""
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                return await write()
            except (StoreUnavailable, StoreTimeout):
                patience = LAST_WORDS if self._stop.is_set() else self._settings.stalled_after
                if time.monotonic() - began > patience:
                    _log.warning("a job is left to whoever finds it: the database is away")
                    return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)


async def _unknown(job: Job, _progress: Progress) -> None:
    raise UnknownJobKind(job.kind)


async def _to_the_end(work: Awaitable[T]) -> T:
    """Await work that a cancellation must not break off; the cancellation comes after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _attributes(run: Run) -> dict[str, spans.Value]:
    job = run.job
    told: dict[str, spans.Value] = {
        "footnote.job.id": str(job.id),
        "footnote.job.kind": job.kind,
        "footnote.job.attempt": job.attempts,
        "footnote.collection": job.collection,
    }
    return told | ({"footnote.document.id": job.document_id} if job.document_id is not None else {})


def _tell(held: _Held, outcome: Outcome, error: BaseException | None) -> None:
    """Tell the log and the metrics how a run ended."""
    job, seconds = held.run.job, time.monotonic() - held.began
    labels = {"footnote.job.kind": job.kind, "footnote.outcome": outcome}
    JOB_DURATION.record(seconds, labels)
    if job.started_at is not None and job.attempts == 1:
        JOB_WAIT.record((job.started_at - job.created_at).total_seconds(), {"footnote.job.kind": job.kind})
    is_unnamed = error is not None and not isinstance(error, FootnoteError | asyncio.CancelledError)
    log = _log.error if outcome == "failed" else _log.info
    log(
        "job ended",
        outcome=outcome,
        attempt=job.attempts,
        seconds=round(seconds, 3),
        error=type(error).__name__ if error is not None else None,
        exc_info=error if is_unnamed else None,
    )
