"""Workers as processes, and kill -9 of them and of PostgreSQL."""

import asyncio
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from support.environment import make_settings
from support.otlp import start_receiver
from support.workers import PATIENCE, ended, started, submit, until

from config.telemetry import spans
from storage import schema_version
from storage.database import Database
from storage.jobs.jobs import JobStore
from storage.local import LocalPostgres


async def test_a_killed_worker_s_job_is_taken_up_once_by_another(database, dsn, tmp_path):
    with started(dsn, tmp_path) as first:
        job = await submit(database)
        await until(first.begun)
        with started(dsn, tmp_path) as second, started(dsn, tmp_path):
            first.kill()
            await until(lambda: len(second.begun()) == 2)
            (tmp_path / "go").touch()
            done = await ended(database, job.id)
    assert (done.status, done.attempts) == ("succeeded", 2)
    assert first.begun() == [str(job.id)] * 2
    assert first.ended() == [str(job.id)]


async def test_when_all_workers_were_killed_a_new_one_takes_their_jobs_up(database, dsn, tmp_path):
    with started(dsn, tmp_path, concurrency=3) as first:
        jobs = [await submit(database, document_id=str(number)) for number in range(3)]
        await until(lambda: len(first.begun()) == 3)
        first.kill()
    (tmp_path / "go").touch()
    with started(dsn, tmp_path):
        assert [(await ended(database, job.id)).status for job in jobs] == ["succeeded"] * 3
    assert sorted(first.ended()) == sorted(str(job.id) for job in jobs)


async def test_a_job_that_kills_its_worker_each_time_is_dead_in_the_end(database, dsn, tmp_path):
    job = await submit(database)
    with started(dsn, tmp_path, attempts=2) as worker:
        await until(worker.begun)
        worker.kill()
    with started(dsn, tmp_path, attempts=2) as worker:
        await until(lambda: len(worker.begun()) == 2)
        worker.kill()
    with started(dsn, tmp_path, attempts=2):
        dead = await ended(database, job.id)
    assert (dead.status, dead.attempts, dead.error.name) == ("failed", 2, "internal")


@pytest.mark.parametrize("kind", ["wait", "stubborn"])
async def test_sigterm_lets_the_job_in_hand_end_or_gives_it_back(database, dsn, tmp_path, kind):
    grace = 600 if kind == "wait" else 0.2
    with started(dsn, tmp_path, concurrency=1, shutdown_timeout=grace) as worker:
        job = await submit(database, kind=kind)
        await until(worker.begun)
        worker.popen.terminate()
        await asyncio.sleep(0.3)
        (tmp_path / "go").touch()
        assert await asyncio.to_thread(worker.popen.wait, PATIENCE) == 0
    after = await JobStore(database).get(job.id)
    assert (after.status, after.attempts) == (("succeeded", 1) if kind == "wait" else ("queued", 0))


async def test_a_second_sigterm_gives_jobs_back_at_once(database, dsn, tmp_path):
    with started(dsn, tmp_path, shutdown_timeout=3600) as worker:
        job = await submit(database, kind="stubborn")
        await until(worker.begun)
        worker.popen.terminate()
        await until(lambda: worker.popen.poll() is not None or worker.popen.terminate() or False)
        assert worker.popen.returncode in (0, -signal.SIGTERM)  # one that came after its handler had gone
    given_back = await JobStore(database).get(job.id)
    assert (given_back.status, given_back.attempts) == ("queued", 0)


async def test_a_worker_goes_on_when_postgresql_was_killed(tmp_path):
    local = LocalPostgres(tmp_path)
    dsn = local.start()
    await schema_version.upgrade(dsn)
    database = await Database.open(dsn, settings=make_settings(dsn, tmp_path).database)
    try:
        with started("embedded", tmp_path, stalled_after=10) as worker:
            job = await submit(database)
            await until(worker.begun)
            kill_postgres(tmp_path)
            (tmp_path / "go").touch()
            done = await until(lambda: status(database, job.id, "succeeded"))
            assert done.attempts in (1, 2)  # 2 where the result could not be recorded in time
            again = await until(lambda: submitted(database))
            assert await until(lambda: status(database, again.id, "succeeded"))
            assert worker.popen.poll() is None
    finally:
        await database.close()
        local.stop()


def kill_postgres(directory):
    """End it with all its children, as the kernel's out-of-memory killer would."""
    postmaster = psutil.Process(int(Path(directory, "postgres", "postmaster.pid").read_text().splitlines()[0]))
    for process in [postmaster, *postmaster.children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)


async def status(database, job_id, wanted):
    try:
        job = await JobStore(database).get(job_id)
    except Exception:  # noqa: BLE001 (it is away, or in the way of coming back)
        return None
    return job if job.status == wanted else None


async def submitted(database):
    try:
        return await submit(database)
    except Exception:  # noqa: BLE001 (see above)
        return None


async def test_a_job_s_spans_are_in_the_trace_of_who_submitted_it(database, dsn, tmp_path):
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    (tmp_path / "go").touch()
    with start_receiver() as receiver:
        telemetry = {"endpoint": receiver.http_url, "metrics_interval": 1}
        with started(dsn, tmp_path, telemetry=telemetry) as worker:
            with spans.continued({"traceparent": caller}):
                job = await submit(database, document_id="a")
            await ended(database, job.id)
            worker.popen.terminate()
            assert await asyncio.to_thread(worker.popen.wait, PATIENCE) == 0
        span = receiver.span("footnote.job wait")
        assert (span.trace_id, span.parent_id) == tuple(caller.split("-")[1:3])
        assert span.attributes["footnote.job.id"] == str(job.id)
        assert span.attributes["footnote.outcome"] == "succeeded"
        assert span.attributes["footnote.document.id"] == "a"
        lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
        assert [line["trace_id"] for line in lines if line["event"] == "job ended"] == [span.trace_id]
