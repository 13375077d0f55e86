"""Jobs in a real database, without a worker: what clients see and do."""

import asyncio
from uuid import uuid4

import pytest
from support.sql import execute
from support.workers import new_job, until

from config.telemetry import spans
from storage.caller import Caller, acting_as
from storage.database import Database
from storage.errors import IdempotencyKeyReused, JobLost, JobNotFound, JobNotRetryable, JobTooLarge
from storage.jobs.jobs import JobCounts, JobStore
from storage.jobs.rows import MAX_BYTES, JobError
from storage.jobs.runs import JobRuns, Pulse


@pytest.fixture
def jobs(database):
    return JobStore(database)


async def submit(database, store, **fields):
    async with database.transaction() as connection:
        return await store.submit(connection, new_job(**{"kind": "index-document", **fields}))


async def begin(database):
    """Claim the next job."""
    return await JobRuns(database).claim(run_id=uuid4())


def queue(dsn):
    return [row[0] for row in execute(dsn, "SELECT id::text FROM footnote.jobs WHERE status = 'queued' ORDER BY id")]


async def test_a_job_appears_with_the_transaction_or_not_at_all(database, dsn, jobs):
    async with database.dedicated(as_owner=True) as connection:
        transaction = connection.transaction()
        await transaction.start()
        job = await jobs.submit(connection, new_job(document_id="a"))
        await transaction.rollback()
    with pytest.raises(JobNotFound):
        await jobs.get(job.id)
    assert queue(dsn) == []

    job = await submit(database, jobs, document_id="a", arguments={"hash": "ab"}, request_id="r1")
    assert await jobs.get(job.id) == job
    assert (job.status, job.arguments, job.request_id, job.attempts) == ("queued", {"hash": "ab"}, "r1", 0)
    assert queue(dsn) == [str(job.id)]


async def test_a_job_carries_the_trace_of_who_submitted_it(database, jobs):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with spans.continued({"traceparent": parent}):
        job = await submit(database, jobs)
    assert job.traceparent == parent
    assert (await submit(database, jobs)).traceparent is None


async def test_another_tenant_s_job_is_not_found(database, dsn, jobs):
    execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")
    job = await submit(database, jobs)
    with acting_as(Caller("other", "somebody", sees_all=True)):
        for attempt in (jobs.get, jobs.cancel, jobs.retry):
            with pytest.raises(JobNotFound):
                await attempt(job.id)
        assert (await jobs.list(limit=10)).items == ()


async def test_arguments_that_are_too_large_are_refused_before_anything_is_written(database, jobs):
    await submit(database, jobs, arguments={"text": "x" * (MAX_BYTES - 20)})
    with pytest.raises(JobTooLarge):
        await submit(database, jobs, arguments={"text": "x" * MAX_BYTES})


async def test_arguments_that_postgresql_cannot_store_lose_what_it_cannot(database, jobs):
    job = await submit(database, jobs, arguments={"name": "a\0b \ud800 \\u0000 é"})
    assert (await jobs.get(job.id)).arguments == {"name": "ab \ufffd \\u0000 é"}


async def test_an_idempotency_key_gives_the_same_job_again(database, dsn, jobs):
    key = {"idempotency_key": "k", "idempotency_fingerprint": "f"}
    first = await submit(database, jobs, document_id="a", **key)
    again = await submit(database, jobs, document_id="a", **key)
    assert again.id == first.id
    assert len(queue(dsn)) == 1
    with pytest.raises(IdempotencyKeyReused):
        await submit(database, jobs, document_id="a", idempotency_key="k", idempotency_fingerprint="g")


async def test_two_submissions_with_one_key_at_once_are_one_job(database, dsn):
    async def one():
        store = JobStore(database)
        return await submit(database, store, document_id="a", idempotency_key="k", idempotency_fingerprint="f")

    found = await asyncio.gather(*(one() for _ in range(8)))
    assert len({job.id for job in found}) == 1
    assert len(queue(dsn)) == 1


async def test_a_newer_job_of_a_document_takes_the_place_of_one_that_waits(database, jobs):
    first = await submit(database, jobs, document_id="a")
    other = await submit(database, jobs, document_id="b")
    second = await submit(database, jobs, document_id="a")
    first = await jobs.get(first.id)
    assert (first.status, first.superseded_by) == ("cancelled", second.id)
    assert {(await begin(database)).job.id, (await begin(database)).job.id} == {other.id, second.id}


async def test_submissions_of_one_document_at_once_leave_one_job_waiting(database, dsn, jobs):
    await asyncio.gather(*(submit(database, jobs, document_id="a") for _ in range(10)))
    waiting = (await jobs.list(limit=100, status="queued")).items
    newest = (await jobs.list(limit=1)).items
    assert waiting == newest
    assert len(queue(dsn)) == 1


async def test_a_running_job_is_left_to_run_and_the_newer_one_waits_for_it(database, jobs):
    first = await submit(database, jobs, document_id="a")
    run = await begin(database)
    second = await submit(database, jobs, document_id="a")
    assert await begin(database) is None
    assert (await jobs.get(first.id)).status == "running"
    assert await JobRuns(database).succeed(Pulse(run, 1, 1), result_json="{}")
    assert (await begin(database)).job.id == second.id


async def test_a_job_that_fails_while_a_newer_one_waits_is_not_tried_again(database, jobs):
    first = await submit(database, jobs, document_id="a")
    run = await begin(database)
    second = await submit(database, jobs, document_id="a")
    assert await JobRuns(database).try_later(run, pause=0, error=JobError("deadline-exceeded", "slow"))
    first = await jobs.get(first.id)
    assert (first.status, first.superseded_by) == ("cancelled", second.id)
    assert (await begin(database)).job.id == second.id


async def test_jobs_without_a_document_share_a_lock_only_where_they_name_one(database, jobs):
    for lock in ("prune", "prune", None, None):
        await submit(database, jobs, kind="prune", lock=lock)
    begun = [run for _ in range(4) if (run := await begin(database))]
    assert sorted(str(run.lock) for run in begun) == ["None", "None", "public/docs/prune"]


async def test_a_cancelled_job_leaves_the_queue(database, dsn, jobs):
    job = await submit(database, jobs)
    assert (await jobs.cancel(job.id)).status == "cancelled"
    assert queue(dsn) == []
    assert (await jobs.cancel(job.id)).status == "cancelled"  # again does no harm


async def test_a_running_job_that_is_cancelled_writes_nothing_from_then_on(database, jobs):
    job = await submit(database, jobs, document_id="a")
    run = await begin(database)
    runs = JobRuns(database)
    async with database.transaction() as connection:
        await runs.confirm(connection, run)
    await jobs.cancel(job.id)
    with pytest.raises(JobLost):
        async with database.transaction() as connection:
            await runs.confirm(connection, run)
    assert await runs.beat([Pulse(run, 1, 2)]) == set()
    assert not await runs.succeed(Pulse(run, 2, 2), result_json="{}")
    assert not await runs.give_back(run)
    assert (await jobs.get(job.id)).status == "cancelled"


async def test_a_cancellation_waits_for_a_transaction_that_has_confirmed_its_run(database, jobs):
    job = await submit(database, jobs)
    run = await begin(database)
    async with database.transaction() as connection:
        await JobRuns(database).confirm(connection, run)
        cancelling = asyncio.create_task(jobs.cancel(job.id))
        await until_somebody_waits_for_a_lock(database)
        assert await JobRuns(database).beat([Pulse(run, 0, None)]) == {run.id}  # the heartbeat does not wait
        assert not cancelling.done()
    assert (await cancelling).status == "cancelled"


async def until_somebody_waits_for_a_lock(database):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(20), database.dedicated(as_owner=True) as connection:
        while not await connection.fetchval(waiting):  # noqa: ASYNC110 (PostgreSQL does not tell)
            await asyncio.sleep(0.01)


async def test_deleting_a_document_cancels_all_that_would_bring_it_back(database, jobs):
    dead = await submit(database, jobs, document_id="a")
    await JobRuns(database).fail(Pulse(await begin(database), 0, None), error=JobError("invalid-request", "no"))
    running = await submit(database, jobs, document_id="a")
    await begin(database)
    waiting = await submit(database, jobs, document_id="a")
    other = await submit(database, jobs, document_id="b")
    async with database.transaction() as connection:
        assert await jobs.cancel_of_document(connection, "docs", "a") == 3
    assert [(await jobs.get(job.id)).status for job in (dead, running, waiting, other)] == [
        *["cancelled"] * 3,
        "queued",
    ]
    with pytest.raises(JobNotRetryable):
        await jobs.retry(dead.id)
    assert (await jobs.get(dead.id)).error == JobError("invalid-request", "no")


async def test_a_dead_job_is_put_back_by_one_call(database, jobs):
    job = await submit(database, jobs, document_id="a")
    with pytest.raises(JobNotRetryable):
        await jobs.retry(job.id)
    await JobRuns(database).fail(Pulse(await begin(database), 3, 4), error=JobError("invalid-request", "no", "file"))
    dead = await jobs.get(job.id)
    assert (dead.status, dead.error, dead.done, dead.total) == (
        "failed",
        JobError("invalid-request", "no", "file"),
        3,
        4,
    )
    assert await begin(database) is None
    again = await jobs.retry(job.id)
    assert (again.status, again.attempts, again.error, again.finished_at) == ("queued", 0, None, None)
    assert (await begin(database)).job.id == job.id


async def test_a_dead_job_is_not_repeated_over_a_newer_version_of_its_document(database, jobs):
    old = await submit(database, jobs, document_id="a")
    await JobRuns(database).fail(Pulse(await begin(database), 0, None), error=JobError("invalid-request", "no"))
    new = await submit(database, jobs, document_id="a")
    await JobRuns(database).succeed(Pulse(await begin(database), 0, None), result_json="{}")
    with pytest.raises(JobNotRetryable, match="newer"):
        await jobs.retry(old.id)
    assert (await jobs.get(old.id)).status == "failed"
    assert (await jobs.get(new.id)).status == "succeeded"


async def test_a_list_of_jobs_has_pages_the_newest_first(database, jobs):
    made = [await submit(database, jobs, document_id=str(number)) for number in range(5)]
    first = await jobs.list(limit=3)
    rest = await jobs.list(limit=3, cursor=first.next_cursor)
    assert [job.id for job in first.items + rest.items] == [job.id for job in reversed(made)]
    assert rest.next_cursor is None
    assert (await jobs.list(limit=3, collection="none")).items == ()
    assert [job.id for job in (await jobs.list(limit=3, document_id="2")).items] == [made[2].id]


async def test_watching_a_job_shows_each_change_and_ends_with_it(database, jobs):
    job = await submit(database, jobs)
    seen = []
    changed = asyncio.Event()

    async def watch():
        async for state in jobs.watch(job.id):
            seen.append(state)
            changed.set()

    async def next_change():
        async with asyncio.timeout(20):
            await changed.wait()
        changed.clear()

    watching = asyncio.create_task(watch())
    await next_change()
    run = await begin(database)
    await next_change()
    await JobRuns(database).beat([Pulse(run, 5, 9)])
    await next_change()
    await JobRuns(database).succeed(Pulse(run, 9, 9), result_json='{"chunks": 9}')
    async with asyncio.timeout(20):
        await watching
    assert [(state.status, state.done, state.total) for state in seen] == [
        ("queued", 0, None),
        ("running", 0, None),
        ("running", 5, 9),
        ("succeeded", 9, 9),
    ]
    assert seen[-1].result == {"chunks": 9}
    with pytest.raises(JobNotFound):
        await anext(jobs.watch(uuid4()))


async def test_counts_tell_the_depth_of_the_queue_and_the_age_of_what_is_due(database, dsn, jobs):
    assert await jobs.counts() == JobCounts(queued=0, running=0, dead=0, oldest_seconds=0)
    for number in range(4):
        await submit(database, jobs, document_id=str(number))
    await JobRuns(database).fail(Pulse(await begin(database), 0, None), error=JobError("invalid-request", "no"))
    await begin(database)
    await JobRuns(database).try_later(await begin(database), pause=1000, error=JobError("deadline-exceeded", "slow"))
    execute(dsn, "UPDATE footnote.jobs SET created_at = created_at - interval '1 hour'")
    found = await jobs.counts()
    assert (found.queued, found.running, found.dead) == (2, 1, 1)
    assert 3600 <= found.oldest_seconds < 3700


async def test_a_job_whose_worker_is_gone_waits_for_another_one(database, dsn, jobs):
    await submit(database, jobs)
    await begin(database)
    assert (await jobs.counts()).oldest_seconds == 0
    execute(dsn, "UPDATE footnote.jobs SET heartbeat_at = now() - interval '10 minutes'")
    assert 600 <= (await jobs.counts()).oldest_seconds < 700


async def test_old_jobs_are_forgotten_dead_ones_later(database, dsn, jobs):
    dead, done, waiting = [await submit(database, jobs, document_id=name) for name in "abc"]
    runs = JobRuns(database)
    await runs.fail(Pulse(await begin(database), 0, None), error=JobError("invalid-request", "no"))
    await runs.succeed(Pulse(await begin(database), 0, None), result_json="{}")
    execute(dsn, "UPDATE footnote.jobs SET finished_at = now() - interval '8 days' WHERE finished_at IS NOT NULL")
    await runs.forget_old(days=7, failed_days=30)
    assert {job.id for job in (await jobs.list(limit=9)).items} == {dead.id, waiting.id}
    with pytest.raises(JobNotFound):
        await jobs.get(done.id)


async def test_a_claim_whose_answer_was_lost_can_be_repeated(database, jobs):
    await submit(database, jobs)
    await submit(database, jobs)
    runs, mine = JobRuns(database), uuid4()
    first = await runs.claim(run_id=mine)
    again = await runs.claim(run_id=mine)
    assert (again.job.id, again.job.attempts) == (first.job.id, 1)
    assert (await runs.claim(run_id=uuid4())).job.id != first.job.id
    assert await runs.claim(run_id=uuid4()) is None


async def test_jobs_are_begun_by_priority_then_by_age_and_none_before_it_is_due(database, dsn, jobs):
    made = {}
    for name, priority in (("old", 0), ("new", 0), ("urgent", 1), ("later", 2)):
        made[name] = await submit(database, jobs, document_id=name, priority=priority)
    await JobRuns(database).try_later(await begin(database), pause=1000, error=JobError("deadline-exceeded", "slow"))
    begun = [(await begin(database)).job.document_id for _ in range(3)]
    assert begun == ["urgent", "old", "new"]
    assert await begin(database) is None
    execute(dsn, "UPDATE footnote.jobs SET next_try_at = now() WHERE document_id = 'later'")
    assert (await begin(database)).job.id == made["later"].id


async def test_eight_workers_that_claim_at_once_begin_each_job_once_and_one_a_lock(database, dsn, settings, jobs):
    """Ten jobs of ten documents, and ten of one lock: of those one runs at any time."""
    for number in range(10):
        await submit(database, jobs, document_id=str(number))
        await submit(database, jobs, lock="one")
    others = [await Database.open(dsn, settings=settings.database) for _ in range(4)]
    begun, alone = [], []

    async def worker(runs):
        while run := await runs.claim(run_id=uuid4()):
            begun.append(run.job.id)
            if run.lock.endswith("one"):
                alone.append(run.job.id)
                await asyncio.sleep(0.01)
                assert alone == [run.job.id]
                alone.remove(run.job.id)
            await runs.succeed(Pulse(run, 0, None), result_json="{}")

    while queue(dsn):  # one that found everything locked has ended
        await asyncio.gather(*(worker(JobRuns(each)) for each in others for _ in range(2)))
    for each in others:
        await each.close()
    assert len(begun) == len(set(begun)) == 20


async def test_a_worker_that_is_beaten_to_a_lock_takes_another_job(database, jobs):
    """The first worker's transaction has begun a job and not ended: nobody sees that its lock is taken."""
    first, second = [await submit(database, jobs, lock="one") for _ in range(2)]
    free = await submit(database, jobs)
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE footnote.jobs SET status = 'running', run = $2 WHERE id = $1", first.id, uuid4()
        )
        claiming = asyncio.create_task(begin(database))
        await until_somebody_waits_for_a_lock(database)
    assert (await claiming).job.id == free.id
    assert (await jobs.get(second.id)).status == "queued"


async def test_whatever_a_worker_leaves_behind_is_taken_up_and_what_lives_is_left_alone(database, dsn, jobs):
    names = ("beating", "silent", "waiting")
    made = {}
    for name in names:
        made[name] = await submit(database, jobs, document_id=name)
    await begin(database)
    await begin(database)
    execute(dsn, "UPDATE footnote.jobs SET heartbeat_at = now() + interval '1 hour' WHERE document_id = 'beating'")
    execute(dsn, "UPDATE footnote.jobs SET heartbeat_at = now() - interval '1 hour' WHERE document_id = 'silent'")
    rescue = {"attempts": 5, "error": JobError("internal", "died")}
    # PostgreSQL's start counts as a heartbeat
    assert await JobRuns(database).rescue(stalled_after=10_000, **rescue) == 0
    await until(lambda: execute(dsn, "SELECT pg_postmaster_start_time() < now() - interval '1 second'")[0][0])
    assert await JobRuns(database).rescue(stalled_after=1, **rescue) == 1
    status = {name: (await jobs.get(job.id)).status for name, job in made.items()}
    assert status == {name: "running" if name == "beating" else "queued" for name in names}
    assert (await jobs.get(made["silent"].id)).attempts == 1
    again = {(await begin(database)).job.document_id for _ in range(2)}
    assert again == {"silent", "waiting"}


async def test_a_job_whose_workers_die_each_time_is_dead_in_the_end(database, dsn, jobs):
    job = await submit(database, jobs)
    died = JobError("internal", "its worker ended before it did, 2 times")
    for _ in range(2):
        assert await begin(database)
        execute(dsn, "UPDATE footnote.jobs SET heartbeat_at = now() - interval '1 hour'")
        assert await JobRuns(database).rescue(stalled_after=0, attempts=2, error=died) == 1
    dead = await jobs.get(job.id)
    assert (dead.status, dead.attempts, dead.error) == ("failed", 2, died)
    assert queue(dsn) == []


async def test_eight_workers_that_rescue_at_once_put_each_job_back_once(database, dsn, settings, jobs):
    for number in range(20):
        await submit(database, jobs, document_id=str(number))
        await begin(database)
    execute(dsn, "UPDATE footnote.jobs SET heartbeat_at = now() - interval '1 hour'")
    others = [await Database.open(dsn, settings=settings.database) for _ in range(4)]
    died = JobError("internal", "died")
    counts = await asyncio.gather(
        *(JobRuns(each).rescue(stalled_after=0, attempts=5, error=died) for each in others for _ in range(2))
    )
    for each in others:
        await each.close()
    assert sum(counts) == 20
    assert len(queue(dsn)) == 20
