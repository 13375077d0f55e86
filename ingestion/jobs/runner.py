"""Claims jobs, runs their handlers and records their outcomes; `heartbeat` keeps them alive meanwhile."""

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
from ingestion.jobs.heartbeat import RunInHand
from ingestion.jobs.retries import error_of, may_pass, pause_before
from storage.caller import acting_as, service_of
from storage.errors import JobTimedOut, StoreTimeout, StoreUnavailable, UnknownJobKind
from storage.jobs.rows import Job, bounded_json
from storage.jobs.runs import JobRuns, Run
from storage.origin import asked_by, coming_from

if TYPE_CHECKING:
    from config.settings import JobSettings
    from ingestion.jobs.retries import Handler, Progress

LAST_WORDS = 5.0  # seconds to record an outcome when the worker is to stop
Outcome = Literal["succeeded", "failed", "retried", "returned", "lost"]
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class JobRunner:
    """Does the jobs of one process; see `ingestion.jobs.worker.run_worker`.

    Attributes:
        in_hand: what runs now, by the id of the run.

    """

    def __init__(
        self, runs: JobRuns, handlers: Mapping[str, Handler], *, settings: JobSettings, stop: asyncio.Event
    ) -> None:
        self._runs = runs
        self.in_handlers = handlers
        self._settings = settings
        self._stop = stop
        self._woken = asyncio.Event()
        self._claim_id = uuid4()
        self.in_hand: dict[UUID, RunInHand] = {}

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
        for held in self.in_hand.values():
            if held.run.job.id == job_id:
                held.lose()

    def let_go(self) -> None:
        """Give back the jobs in hand, now."""
        for held in self.in_hand.values():
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
        held = self.in_hand[run.id] = RunInHand(self._runs, run, task)
        job = run.job
        carrier = {"traceparent": job.traceparent} if job.traceparent else {}
        with (
            structlog.contextvars.bound_contextvars(job_id=str(job.id), job_kind=job.kind, request_id=job.request_id),
            spans.continued(carrier),
            spans.span(f"footnote.job {job.kind}", kind=SpanKind.CONSUMER, attributes=_attributes(run)) as span,
        ):
            identity = service_of(job.tenant, job.subject)
            with acting_as(identity), coming_from("worker", request_id=job.request_id), asked_by(identity):
                error = await self._attempt(held)
            if error is not None:
                spans.failed(span, error)
            outcome = await _to_the_end(self._record(held, error))
            span.set_attribute("footnote.outcome", outcome)
            if outcome == "failed":  # whoever is to blame: nobody waits for the answer that would tell them
                span.set_status(StatusCode.ERROR)
            _tell(held, outcome, error)

    async def _attempt(self, held: RunInHand) -> BaseException | None:
        """Do the job; return its error, a `CancelledError` where somebody wants us to let go of it."""
        job = held.run.job
        limit = asyncio.timeout(self._settings.timeout)
        try:
            async with limit:
                result = await self.in_handlers.get(job.kind, _unknown)(job, held.progress)
            held.result_json = bounded_json(result or {})
        except TimeoutError as exc:
            return JobTimedOut(self._settings.timeout) if limit.expired() else exc
        except asyncio.CancelledError as exc:
            # a handler's own, which nobody asked for, is a failure
            return exc if held.task.cancelling() else InterruptedError("the handler was cancelled from within")
        except Exception as exc:  # noqa: BLE001 (whatever it is, it is the job's)
            return exc
        return None

    async def _record(self, held: RunInHand, error: BaseException | None) -> Outcome:
        """Write what became of a run; where the database stays away, others will find it as we left it."""
        outcome, write = self._ending(held, error)
        held.is_ending = True
        try:
            is_ours = await self._insist(write)
        finally:
            self.in_hand.pop(held.run.id, None)
        return outcome if is_ours else "lost"

    def _ending(self, held: RunInHand, error: BaseException | None) -> tuple[Outcome, Callable[[], Awaitable[bool]]]:
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


def _tell(held: RunInHand, outcome: Outcome, error: BaseException | None) -> None:
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
        collection=job.collection,
        source=job.source,
        attempt=job.attempts,
        seconds=round(seconds, 3),
        error=type(error).__name__ if error is not None else None,
        reason=str(error) if isinstance(error, FootnoteError) else None,
        exc_info=error if is_unnamed else None,
    )
