"""What alerts count is there, at 0, before anything has failed; what a server stands on is seen while nobody asks."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.model_server import Reply
from support.stack import PATIENCE, until
from support.traffic import QUESTION, database_gone

from server.api.problems import KINDS


@pytest.fixture(scope="module")
def process(stack):
    limits = {"DATABASE__ACQUIRE_TIMEOUT": "1", "LLM__MAX_RETRIES": "0", "LLM__BREAKER_FAILURES": "0"}
    with stack.process(**limits) as started:
        yield started


@pytest.fixture(scope="module")
def http(process):
    with httpx.Client(base_url=process.url, timeout=PATIENCE) as client:
        yield client


def read(http, name, label):
    """Return a metric's values by a label of theirs."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    found = [sample for family in families for sample in family.samples if sample.name == name]
    values = {}
    for sample in found:
        values[sample.labels[label]] = values.get(sample.labels[label], 0) + sample.value
    return values


def test_every_outcome_has_a_series_from_the_start_and_a_first_failure_is_an_increase(stack, http):
    problems = read(http, "footnote_problems_total", "footnote_problem")
    assert problems.keys() == KINDS.keys()
    answers = read(http, "footnote_answers_total", "footnote_outcome")
    assert answers.keys() == {*KINDS, "stop", "length", "extractive", "no_context", "cancelled"}
    assert read(http, "footnote_stream_endings_total", "footnote_outcome").keys() == answers.keys()
    failures = read(http, "footnote_model_failures_total", "error_type")
    assert {"model-failed", "model-unavailable", "other"} <= failures.keys()
    timeouts = read(http, "db_client_connection_timeouts_total", "db_client_connection_pool_name")
    assert not any((*problems.values(), *answers.values(), *failures.values(), *timeouts.values()))

    stack.fresh(Reply(fault="server-error"))
    assert http.post("/query", json=QUESTION).status_code == 502
    stack.fresh(Reply())
    assert http.post("/query", json=QUESTION).status_code == 200
    assert http.get("/nothing-here").status_code == 404
    after = read(http, "footnote_problems_total", "footnote_problem")
    assert {slug: number for slug, number in after.items() if number} == {"model-failed": 1, "not-found": 1}
    after = read(http, "footnote_answers_total", "footnote_outcome")
    assert {outcome: number for outcome, number in after.items() if number} == {"model-failed": 1, "stop": 1}
    after = read(http, "footnote_model_failures_total", "error_type")
    assert {slug: number for slug, number in after.items() if number} == {"model-failed": 1}


def test_what_the_server_stands_on_is_seen_while_nobody_asks_and_looking_counts_as_no_failure(stack, http):
    before = read(http, "footnote_problems_total", "footnote_problem")["store-unavailable"]
    up = until(lambda: (found := read(http, "footnote_dependency_up", "dependency")) and found)
    assert {"database", "schema", "embedding", "model", "disk", "generations", "audit"} <= up.keys()
    assert up["database"] == 1
    with database_gone(stack):
        until(lambda: read(http, "footnote_dependency_up", "dependency")["database"] == 0)
        assert http.get("/ready").status_code == 503
    until(lambda: read(http, "footnote_dependency_up", "dependency")["database"] == 1)
    assert read(http, "footnote_problems_total", "footnote_problem")["store-unavailable"] == before


def test_the_disk_that_uploads_go_to_is_measured(http):
    free = until(lambda: read(http, "footnote_disk_free_bytes", "footnote_disk"))
    sizes = read(http, "footnote_disk_size_bytes", "footnote_disk")
    assert free.keys() == sizes.keys() == {"uploads"}  # the database is another server's here
    assert 0 < free["uploads"] < sizes["uploads"]
