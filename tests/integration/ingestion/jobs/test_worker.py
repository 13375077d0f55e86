"""A real worker over a real queue, within the test's event loop, with handlers of the test's own."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
import structlog
from support.sql import execute
from support.workers import PATIENCE, ended, submit, until, working

from embedding.errors import EmbeddingFailed
from ingestion.errors import FetchFailed, FetchRefused, Unreadable
from ingestion.jobs import retries
from ingestion.jobs.retries import may_pass, pause_before
from storage.access.tenants import Tenants
from storage.caller import acting_as, service_of
from storage.database import Database
from storage.errors import CollectionNotFound, GenerationRetired, JobLost, StoreRefused, StoreUnavailable, WriteConflict
from storage.jobs import queue
from storage.jobs.jobs import JobError, JobStore
from storage.jobs.rows import MAX_BYTES


class Gate:
    """A handler that waits to be let through, and remembers."""

    def __init__(self, result=None):
        self.begun = []
        self.cancelled = []
        self.open = asyncio.Event()
        self.result = result

    async def __call__(self, job, _progress):
        self.begun.append(job)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job)
            raise
        return self.result


def failing(*errors, result=None):
    """Return a handler that fails with each of the errors in turn, then succeeds."""
    left = list(errors)

    async def handler(_job, _progress):
        if left:
            raise left.pop(0)
        return result

    return handler


async def test_a_job_is_done_and_its_result_kept(database, settings):
    async def handler(job, progress):
        progress.tell(2, total=2)
        return {"chunks": job.arguments["number"]}

    async with working(settings, database, {"wait": handler}):
        job = await ended(database, (await submit(database, arguments={"number": 7})).id)
    assert (job.status, job.result, job.done, job.total, job.attempts) == ("succeeded", {"chunks": 7}, 2, 2, 1)
    assert job.created_at <= job.started_at <= job.finished_at
    assert job.error is None


async def test_a_submission_wakes_a_worker_that_looks_only_once_in_a_while(database, settings):
    gate = Gate()
    gate.open.set()
    async with working(settings, database, {"wait": gate}, poll_seconds=300):
        await ended(database, (await submit(database)).id)
        await ended(database, (await submit(database)).id)


async def test_progress_reaches_clients_while_the_job_runs(database, settings):
    gate = asyncio.Event()

    async def handler(_job, progress):
        for done in range(1000):  # as often as it likes
            progress.tell(done, total=1000)
        await gate.wait()

    async with working(settings, database, {"wait": handler}):
        job = await submit(database)
        async with asyncio.timeout(PATIENCE):
            async for state in JobStore(database).watch(job.id):
                if (state.status, state.done, state.total) == ("running", 999, 1000):
                    gate.set()
        assert state.status == "succeeded"


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("away"),
        WriteConflict("another"),
        GenerationRetired("docs", "2"),
        StoreRefused("while a password is being changed"),
        EmbeddingFailed("no"),
        FetchFailed("502", status=502),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_may_pass_is_tried_again(database, settings, error):
    async with working(settings, database, {"wait": failing(error, error, result={"ok": True})}):
        job = await ended(database, (await submit(database)).id)
    assert (job.status, job.attempts, job.result, job.error) == ("succeeded", 3, {"ok": True}, None)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unreadable("an encrypted PDF"), JobError("invalid-request", "an encrypted PDF")),
        (FetchRefused("404", status=404), JobError("invalid-request", "404")),
        (CollectionNotFound("docs"), JobError("collection-not-found", "there is no collection 'docs'")),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
async def test_what_never_will_pass_is_dead_at_once(database, settings, error, told):
    with structlog.testing.capture_logs() as logged:
        async with working(settings, database, {"wait": failing(error)}):
            job = await ended(database, (await submit(database, arguments={"source": "a/report.pdf"})).id)
    assert (job.status, job.attempts, job.error) == ("failed", 1, told)
    (line,) = (each for each in logged if each["event"] == "job ended")
    assert (line["source"], line["collection"], line["reason"]) == ("a/report.pdf", job.collection, str(error))


async def test_an_error_without_a_name_is_dead_at_once_and_quotes_nothing(database, settings):
    async with working(settings, database, {"wait": failing(KeyError("a secret of the document"))}):
        job = await ended(database, (await submit(database)).id)
    assert (job.status, job.error.name, job.attempts) == ("failed", "internal", 1)
    assert "secret" not in str(job)


async def test_the_tries_of_a_job_are_bounded_and_a_dead_one_can_be_repeated(database, settings):
    handler = failing(*[StoreUnavailable("away")] * 3, result={"ok": True})
    async with working(settings, database, {"wait": handler}, attempts=3):
        job = await ended(database, (await submit(database)).id)
        assert (job.status, job.attempts, job.error) == ("failed", 3, JobError("store-unavailable", "away"))
        await JobStore(database).retry(job.id)
        job = await ended(database, job.id)
    assert (job.status, job.attempts, job.result) == ("succeeded", 1, {"ok": True})


async def test_between_two_tries_a_job_says_when_the_next_will_be(database, settings):
    async with working(settings, database, {"wait": failing(FetchFailed("429", retry_after=1000))}):
        job = await submit(database)
        job = await until(lambda: waiting(database, job.id))
    assert (job.status, job.attempts, job.error) == ("queued", 1, JobError("fetch-failed", "429"))
    assert 900 < (job.next_try_at - job.started_at).total_seconds() < 1100


async def waiting(database, job_id):
    job = await JobStore(database).get(job_id)
    return job if job.next_try_at else None


def test_pauses_double_up_to_a_bound_and_are_never_shorter_than_asked_for(settings, monkeypatch):
    monkeypatch.setattr(retries, "MAX_PAUSE_SECONDS", 60)
    jobs = settings.jobs.model_copy(update={"retry_pause": 2})
    for attempt, middle in ((1, 2), (2, 4), (5, 32), (6, 60), (500, 60)):
        pauses = {pause_before(attempt, StoreUnavailableLike(), settings=jobs) for _ in range(50)}
        assert min(pauses) >= middle / 2
        assert max(pauses) <= middle * 1.5
        assert len(pauses) > 1
    assert pause_before(1, FetchFailed("429", retry_after=500), settings=jobs) == 500
    assert pause_before(1, FetchFailed("429", retry_after=10**9), settings=jobs) == 86_400


class StoreUnavailableLike(Exception):
    retryable = True


def test_an_error_may_say_itself_whether_it_may_pass():
    class Stubborn(StoreUnavailable):
        retryable = False

    assert may_pass(StoreUnavailableLike())
    assert not may_pass(Stubborn())
    assert not may_pass(JobLost())


async def test_a_job_of_an_unknown_kind_waits_for_a_worker_that_knows_it(database, settings):
    async with working(settings, database, {}, retry_pause=0.5):
        job = await submit(database, kind="of-the-future")
        await until(lambda: waiting(database, job.id))
    async with working(settings, database, {"of-the-future": failing()}):
        assert (await ended(database, job.id)).status == "succeeded"


async def test_a_job_that_takes_too_long_is_broken_off(database, settings):
    gate = Gate()
    async with working(settings, database, {"wait": gate}, timeout=0.1, attempts=2):
        job = await ended(database, (await submit(database)).id)
    assert (job.status, job.attempts, job.error.name) == ("failed", 2, "deadline-exceeded")
    assert len(gate.cancelled) == 2


async def test_a_handler_that_is_cancelled_from_within_has_failed(database, settings):
    async with working(settings, database, {"wait": failing(*[asyncio.CancelledError()] * 9)}, attempts=2):
        job = await ended(database, (await submit(database)).id)
    assert (job.status, job.attempts) == ("failed", 2)


@pytest.mark.parametrize("result", [{"text": "x" * (MAX_BYTES + 1)}, {"number": float("nan")}, {"bytes": b"x"}])
async def test_a_result_that_cannot_be_kept_is_a_failure(database, settings, result):
    async with working(settings, database, {"wait": failing(result=result)}):
        assert (await ended(database, (await submit(database)).id)).status == "failed"


async def test_one_job_a_document_runs_at_a_time_others_run_beside_it(database, settings):
    gate = Gate()
    async with working(settings, database, {"wait": gate}, concurrency=3):
        first = await submit(database, document_id="a")
        await until(lambda: gate.begun)
        second = await submit(database, document_id="a")
        other = await submit(database, document_id="b")
        await until(lambda: len(gate.begun) == 2)
        assert [job.id for job in gate.begun] == [first.id, other.id]
        assert (await JobStore(database).get(second.id)).status == "queued"
        gate.open.set()
        await ended(database, second.id)
    assert [job.id for job in gate.begun] == [first.id, other.id, second.id]


async def test_a_job_that_is_cancelled_while_it_runs_is_let_go_of(database, settings):
    gate = Gate()
    async with working(settings, database, {"wait": gate}):
        job = await submit(database)
        await until(lambda: gate.begun)
        assert (await JobStore(database).cancel(job.id)).status == "cancelled"
        await until(lambda: gate.cancelled)
        gate.open.set()
        await ended(database, (await submit(database)).id)  # the worker goes on
    assert (await JobStore(database).get(job.id)).status == "cancelled"


async def test_a_cancellation_reaches_a_worker_between_two_heartbeats(database, settings):
    gate = Gate()
    async with working(settings, database, {"wait": gate}, stalled_after=3600):
        kept = await submit(database)
        job = await submit(database, document_id="a")
        await until(lambda: len(gate.begun) == 2)
        async with database.transaction() as connection:
            assert await JobStore(database).cancel_of_document(connection, "docs", "a") == 1
        await until(lambda: gate.cancelled)
        gate.open.set()
        assert (await ended(database, kept.id)).status == "succeeded"
    assert [each.id for each in gate.cancelled] == [job.id]


async def test_a_worker_whose_job_another_one_took_over_lets_go_and_does_not_speak_for_it(database, settings):
    gate = Gate(result={"from": "the first"})
    async with working(settings, database, {"wait": gate}):
        job = await submit(database)
        await until(lambda: gate.begun)
        async with database.transaction() as connection:  # as `rescue` and a second worker's `claim` do
            await connection.execute("UPDATE footnote.jobs SET run = gen_random_uuid() WHERE id = $1", job.id)
        await until(lambda: gate.cancelled)
    assert (await JobStore(database).get(job.id)).status == "running"


async def test_a_stopping_worker_ends_what_it_has_and_takes_no_more(database, settings):
    gate = Gate()
    async with working(settings, database, {"wait": gate}, concurrency=1) as worker:
        job = await submit(database)
        await until(lambda: gate.begun)
        later = await submit(database)
        worker.stop.set()
        await asyncio.sleep(0.3)  # it looks every 0.2 s
        gate.open.set()
        await worker.stopped()
    store = JobStore(database)
    assert [(await store.get(each.id)).status for each in (job, later)] == ["succeeded", "queued"]
    assert len(gate.begun) == 1


@pytest.mark.parametrize("how", ["the time is over", "a second signal"])
async def test_a_stopping_worker_gives_back_what_it_cannot_end(database, settings, how):
    gate = Gate()
    grace = 0.1 if how == "the time is over" else 600
    async with working(settings, database, {"wait": gate}, shutdown_timeout=grace) as worker:
        job = await submit(database)
        await until(lambda: gate.begun)
        worker.stop.set()
        if grace > 1:
            worker.hurry.set()
        await worker.stopped()
    given_back = await JobStore(database).get(job.id)
    assert (given_back.status, given_back.attempts, given_back.next_try_at) == ("queued", 0, None)
    async with working(settings, database, {"wait": failing()}):
        assert (await ended(database, job.id)).attempts == 1


async def test_a_worker_whose_connections_are_cut_goes_on_and_listens_again(database, settings, monkeypatch):
    monkeypatch.setattr(queue, "CHECK_SECONDS", 0.1)
    gate = Gate()
    async with working(settings, database, {"wait": gate}, poll_seconds=300, stalled_after=60):
        job = await submit(database)
        await until(lambda: gate.begun)
        await cut_all(settings)
        gate.open.set()
        assert (await ended_whatever_happens(database, job.id)).status == "succeeded"
        await cut_all(settings)
        again = await submit_whatever_happens(database)
        assert (await ended_whatever_happens(database, again.id)).status == "succeeded"
    assert len(gate.begun) == 2


async def cut_all(settings):
    connection = await asyncpg.connect(settings.database.url.get_secret_value())
    await connection.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    )
    await connection.close()


async def ended_whatever_happens(database: Database, job_id: UUID):
    while True:
        try:
            return await ended(database, job_id)
        except StoreUnavailable:
            await asyncio.sleep(0.05)


async def submit_whatever_happens(database):
    while True:
        try:
            return await submit(database)
        except StoreUnavailable:
            await asyncio.sleep(0.05)


async def test_what_a_handler_confirms_is_written_by_one_run_only(database, settings):
    """A worker that was cut off goes on for a moment beside the one that took over: only the latter writes."""
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute("CREATE TABLE written (job uuid, run integer)")
    runs, refused = [], []
    taken_over, first_may_write = asyncio.Event(), asyncio.Event()

    async def handler(job, progress):
        runs.append(job)
        number = len(runs)
        if number == 1:
            taken_over.set()
            try:
                await first_may_write.wait()
            except asyncio.CancelledError:
                await first_may_write.wait()  # stubborn: it writes all the same
        try:
            async with database.transaction() as connection:
                await progress.confirm(connection)
                await connection.execute("INSERT INTO written VALUES ($1, $2)", job.id, number)
        except JobLost:
            refused.append(number)
            raise
        first_may_write.set()

    async with working(settings, database, {"wait": handler}, concurrency=2):
        job = await submit(database)
        await taken_over.wait()
        async with database.transaction() as connection:  # what `rescue` does to a run that is silent
            await connection.execute("UPDATE footnote.jobs SET status = 'queued', run = NULL WHERE id = $1", job.id)
        assert (await ended(database, job.id)).status == "succeeded"
        await until(lambda: refused)
    async with database.dedicated(as_owner=True) as connection:
        assert [row["run"] for row in await connection.fetch("SELECT run FROM written")] == [2]
    assert refused == [1]


async def test_jobs_of_a_suspended_tenant_wait_and_go_on_when_it_is_resumed(database, settings):
    gate, tenants = Gate(result={"ok": True}), Tenants(database)
    async with working(settings, database, {"wait": gate}, concurrency=2, poll_seconds=300):
        running = await submit(database)
        await until(lambda: gate.begun)
        await tenants.suspend("public")
        await until(lambda: gate.cancelled)
        waiting = await submit(database)
        store = JobStore(database)

        async def told():
            found = [await store.get(job.id) for job in (running, waiting)]
            return [(job.status, job.is_held, job.attempts) for job in found]

        async def is_held():
            return await told() == [("queued", True, 0), ("queued", True, 0)]

        await until(is_held)
        assert (await store.counts()).oldest_seconds == 0
        assert next(each for each in await tenants.list() if each.id == "public").jobs == 2
        await tenants.create("acme")  # whose jobs go on meanwhile
        gate.open.set()
        with acting_as(service_of("acme")):
            other = await submit(database)
            assert (await ended(database, other.id)).status == "succeeded"
        assert await told() == [("queued", True, 0), ("queued", True, 0)]
        await tenants.resume("public")
        done = [await ended(database, job.id) for job in (running, waiting)]
    assert [(job.status, job.is_held, job.attempts) for job in done] == [("succeeded", False, 1)] * 2
    assert len(gate.begun) == 4


async def test_a_running_job_stops_even_if_nobody_tells_of_the_suspension(database, settings, dsn):
    gate = Gate()
    async with working(settings, database, {"wait": gate}, stalled_after=1.2):
        job = await submit(database)
        await until(lambda: gate.begun)
        execute(dsn, "UPDATE footnote.tenants SET status = 'suspended' WHERE id = 'public'")
        await until(lambda: gate.cancelled)
        assert len(gate.begun) == 1
        assert (await JobStore(database).get(job.id)).attempts <= 1
