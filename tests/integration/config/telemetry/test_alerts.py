"""Alerts in forced outages: the rules of ``deploy/``, in a real Prometheus for which a minute passes in a second.

Each outage takes half a minute: all but two are for `make soak`. What each rule says of a series,
``tests/unit/test_deploy.py`` tests with promtool.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.disks import small_disk
from support.flips import add_collection, add_generation, empty_the_queue, flip, submit
from support.model_server import Reply
from support.prometheus import programs, start_prometheus
from support.stack import until
from support.tcp_proxy import tcp_proxy
from support.traffic import QUESTION, add_empty_collection, database_gone, locked, traffic
from support.workers import started

LAPSE = 60


@pytest.fixture(scope="module", autouse=True)
def _empty_collection(stack):
    programs()
    add_empty_collection(stack)


@contextmanager
def watched(stack, **settings):
    """Start a server, somebody who asks it, and Prometheus; yields all three once it answers and nothing fires."""
    quiet = {"LOG__LEVEL": "error", "LLM__MAX_RETRIES": "0", "LLM__BREAKER_FAILURES": "0"}
    with (
        stack.process(**quiet | settings) as server,
        start_prometheus({"footnote": server.url.removeprefix("http://")}, lapse=LAPSE) as prometheus,
        traffic(stack, server.url) as people,
    ):
        people.well()
        # before its first look, Prometheus rightly knows of no server
        prometheus.wait_for(
            lambda: prometheus.query("footnote_answer_duration_seconds_count") and not prometheus.alerts()
        )
        yield server, people, prometheus


def fires(prometheus, *alerts, while_=lambda: None):
    """Wait until these alerts fire, and do something meanwhile."""
    prometheus.wait_for(lambda: while_() or prometheus.firing() >= set(alerts))


def test_a_killed_server_is_told_of(stack):
    with watched(stack) as (server, _, prometheus):
        server.signal(signal.SIGKILL)
        fires(prometheus, "FootnoteDown")


@pytest.mark.soak
def test_a_failing_model_is_told_of_in_answers_and_streams(stack):
    with watched(stack) as (_, people, prometheus):
        wanted = ("FootnoteModelFails", "FootnoteAnswersFail", "FootnoteErrorBudgetBurnsFast")
        fires(prometheus, *wanted, while_=people.of_a_failing_model)
        people.well()
        prometheus.wait_for(lambda: people.well() or not prometheus.firing() & {"FootnoteModelFails"})


@pytest.mark.soak
def test_an_open_circuit_breaker_is_told_of(stack):
    with watched(stack, LLM__BREAKER_FAILURES="2", LLM__BREAKER_SECONDS="60") as (_, people, prometheus):
        stack.fresh(default=Reply(fault="server-error"))
        statuses = [people.http.post("/query", json=QUESTION).status_code for _ in range(4)]
        assert statuses == [502, 502, 503, 503]
        fires(prometheus, "FootnoteBreakerOpen")


@pytest.mark.soak
def test_a_database_that_is_away_is_told_of(stack):
    with watched(stack, DATABASE__ACQUIRE_TIMEOUT="1") as (_, people, prometheus):
        with database_gone(stack):
            fires(
                prometheus,
                "FootnoteStoreUnavailable",
                while_=lambda: people.http.post("/query", json=QUESTION),
            )
        prometheus.wait_for(lambda: people.http.post("/query", json=QUESTION).is_success)


@pytest.mark.soak
def test_an_idle_server_tells_of_its_database_and_of_nothing_else(stack):
    with watched(stack) as (_, people, prometheus):
        with database_gone(stack):
            fires(prometheus, "FootnoteStoreUnavailable")
            assert prometheus.firing() == {"FootnoteStoreUnavailable"}
        prometheus.wait_for(lambda: not prometheus.alerts())
        people.well()


@pytest.mark.soak
def test_a_silent_network_fires_no_other_page_than_that_of_the_database(stack):
    with (
        tcp_proxy(stack.dsn) as proxy,
        watched(stack, DATABASE__URL=proxy.dsn, DATABASE__ACQUIRE_TIMEOUT="1") as (_, people, prometheus),
    ):
        proxy.swallow()
        fires(prometheus, "FootnoteStoreUnavailable")
        assert prometheus.firing() == {"FootnoteStoreUnavailable"}
        proxy.forward()
        prometheus.wait_for(lambda: not prometheus.alerts())
        people.well()


@pytest.mark.soak
def test_a_server_that_refuses_for_being_busy_pages_nobody_for_its_database(stack):
    with watched(stack, SERVER__MAX_CONCURRENCY="1", SERVER__MAX_WAIT="0.01") as (_, people, prometheus):
        stack.fresh(default=Reply("one two three four five six seven eight", delay=0.3))

        def crowd():
            with ThreadPoolExecutor(6) as pool:
                list(pool.map(lambda _: people.http.post("/query", json=QUESTION), range(6)))

        prometheus.wait_for(
            lambda: (
                crowd() or prometheus.query('increase(footnote_problems_total{footnote_problem="overloaded"}[5s]) > 2')
            )
        )
        assert "FootnoteStoreUnavailable" not in prometheus.firing()


@pytest.mark.soak
def test_a_disk_that_fills_is_told_of_before_it_is_full(stack):
    with small_disk(megabytes=64) as folder, watched(stack, DATA_DIR=str(folder)) as (_, people, prometheus):
        (folder / "filler").write_bytes(b"\0" * 60 * 1024**2)
        fires(prometheus, "FootnoteDiskLow")
        assert not people.http.get("/ready").json()["dependencies"]["disk"]["ok"]
        (folder / "more").write_bytes(b"\0" * (3 * 1024**2 + 512 * 1024))
        fires(prometheus, "FootnoteDiskAlmostFull")
        assert prometheus.firing() == {"FootnoteDiskLow", "FootnoteDiskAlmostFull"}
        people.well()
        (folder / "filler").unlink()
        prometheus.wait_for(lambda: not prometheus.alerts())


@pytest.mark.soak
def test_a_lock_that_fills_the_pool_is_told_of(stack):
    waits = {"POOL_MAX": "2", "ACQUIRE_TIMEOUT": "2", "STATEMENT_TIMEOUT": "20"}
    settings = {f"DATABASE__{name}": value for name, value in waits.items()}
    with watched(stack, **settings) as (_, people, prometheus), people.asking(6), locked(stack):
        fires(prometheus, "FootnotePoolExhausted", "FootnotePoolWaits")


@pytest.mark.soak
def test_people_who_ask_an_empty_collection_are_told_of(stack):
    with watched(stack) as (_, people, prometheus):
        fires(prometheus, "FootnoteCollectionEmpty", while_=people.in_vain)


@pytest.mark.soak
def test_readers_who_leave_are_told_of(stack):
    with watched(stack, STREAMS__GRACE="0") as (_, people, prometheus):
        stack.fresh(default=Reply("one two three four five six seven eight", delay=0.2))
        fires(prometheus, "FootnoteStreamsAbandoned", while_=lambda: people.leave(10))


@pytest.mark.soak
def test_jobs_that_nobody_takes_are_told_of(stack):
    with watched(stack) as (_, _, prometheus):
        submit(stack.dsn, "wait")
        stack.rows("UPDATE footnote.jobs SET created_at = now() - interval '20 minutes' RETURNING id")
        fires(prometheus, "FootnoteNoWorker", "FootnoteJobsWait")
        empty_the_queue(stack.dsn)
        prometheus.wait_for(lambda: not prometheus.alerts())


@pytest.mark.soak
def test_jobs_that_die_are_told_of_and_those_that_were_dead_before_are_not(stack, tmp_path):
    with started(stack.dsn, tmp_path):
        submit(stack.dsn, "unheard-of")
        until(lambda: stack.rows("SELECT id FROM footnote.jobs WHERE status = 'failed'"))
        with watched(stack) as (_, _, prometheus):
            prometheus.wait_for(lambda: prometheus.value('footnote_jobs{footnote_status="failed"}') == 1)
            assert prometheus.firing() == set()
            submit(stack.dsn, "unheard-of")
            fires(prometheus, "FootnoteJobsDie")
    empty_the_queue(stack.dsn)


@pytest.mark.soak
def test_a_server_that_cannot_follow_a_flip_is_told_of_and_goes_on_answering(stack):
    known = stack.embedder.identity
    add_collection(stack.dsn, "followed", embedding=known)
    with watched(stack) as (_, people, prometheus):
        question = {**QUESTION, "collection": "followed"}
        people.http.post("/retrieve", json=question).raise_for_status()
        elsewhere = replace(known, model="a model of another machine", fingerprint="0" * 64, options=None)
        flip(stack.dsn, "followed", add_generation(stack.dsn, "followed", embedding=elsewhere))
        fires(prometheus, "FootnoteServerBehind")
        assert "followed" in people.http.get("/ready").text
        people.http.post("/retrieve", json=question).raise_for_status()
        flip(stack.dsn, "followed", "1")
        prometheus.wait_for(lambda: prometheus.value("footnote_generations_behind") == 0)
