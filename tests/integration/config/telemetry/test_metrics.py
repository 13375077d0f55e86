"""Metrics of a real server, as Prometheus reads them and as they are pushed."""

from __future__ import annotations

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from support.flips import add_collection, add_generation, empty_the_queue, flip, submit
from support.model_server import Reply
from support.otlp import start_receiver
from support.stack import PATIENCE, until

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
QUESTION = "Who built the lighthouse?"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = CALLER.split("-")[1:3]
PRICES = {"m": {"input": 1000, "output": 2000}, "scripted-1": {"input": 100_000, "output": 1_000_000}}


@pytest.fixture(scope="module")
def receiver():
    with start_receiver() as started:
        yield started


@pytest.fixture(scope="module")
def process(stack, receiver):
    settings = {
        "TELEMETRY__ENDPOINT": receiver.http_url,
        "LLM__PRICES": json.dumps(PRICES),
        "LLM__MAX_RETRIES": "1",
        "LLM__BREAKER_SECONDS": "1",
    }
    with stack.process(TELEMETRY__METRICS_INTERVAL="1", STREAMS__GRACE="0", **settings) as started:
        yield started


@pytest.fixture(scope="module")
def http(process):
    with httpx.Client(base_url=process.url, timeout=PATIENCE) as client:
        yield client


def ask(http, path="/query", **body):
    return http.post(path, json={"question": QUESTION, "min_score": 0, **body})


def samples(http, accept=OPEN_METRICS):
    """Return every sample by its name."""
    response = http.get("/metrics", headers={"Accept": accept})
    assert response.status_code == 200
    parse = open_metrics if response.headers["content-type"].startswith("application/openmetrics") else plain_text
    found = {}
    for family in parse(response.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def value(http, name, **labels):
    """Add up the samples of a metric that have these labels."""
    wanted = labels.items()
    return sum(sample.value for sample in samples(http).get(name, []) if wanted <= sample.labels.items())


def test_answers_are_counted_by_how_they_ended(stack, http):
    stack.fresh(Reply(), Reply(fault="server-error"), Reply(fault="server-error"), Reply(finish_reason="length"))
    assert [ask(http).status_code for _ in range(3)] == [200, 502, 200]
    assert ask(http, min_score=1).json()["finish_reason"] == "no_context"
    for outcome in ("stop", "model-failed", "length", "no_context"):
        labels = {"footnote_outcome": outcome, "footnote_operation": "query", "footnote_mode": "hybrid"}
        assert value(http, "footnote_answer_duration_seconds_count", **labels) == 1, outcome
    assert value(http, "footnote_answer_retrieved_bucket", le="0.0") == 1
    assert value(http, "footnote_model_retries_total") == 1
    assert value(http, "http_server_request_duration_seconds_count", http_route="/query") == 4


def test_streams_are_counted_by_how_they_ended_and_while_they_last(stack, http):
    gate = threading.Event()
    stack.fresh(Reply(), Reply(fault="cut"), default=Reply("one two three four five six", gate=gate))
    for _ in range(2):
        ask(http, "/query/stream")
    with http.stream("POST", "/query/stream", json={"question": QUESTION, "min_score": 0}) as response:
        pieces = response.iter_text()  # kept: an iterator that goes away closes the connection
        next(pieces)
        assert value(http, "footnote_streams_open") == 1
    until(lambda: value(http, "footnote_streams_open") == 0)  # before the model goes on, or it might be done first
    gate.set()
    for outcome in ("stop", "model-failed", "stream-abandoned"):
        assert value(http, "footnote_stream_endings_total", footnote_outcome=outcome) == 1, outcome


def test_tokens_and_cost_are_counted_by_model_and_tenant_and_told_with_the_answer(stack, http):
    stack.fresh(default=Reply(delay=0.02))
    ask(http, "/query/stream")  # a whole answer has neither a first chunk nor a rate
    before = value(http, "footnote_cost_total")
    answer = ask(http).json()
    usage = answer["usage"]
    # the answer's model calls itself scripted-1: that has a price of its own, before that of the name asked for
    cost = (usage["prompt_tokens"] * 100_000 + usage["completion_tokens"] * 1_000_000) / 1e6
    assert answer["cost_usd"] == pytest.approx(cost)
    assert value(http, "footnote_cost_total", footnote_tenant="default") - before == pytest.approx(cost)
    labels = {"gen_ai_request_model": "m", "gen_ai_provider_name": "openai_like", "footnote_tenant": "default"}
    assert value(http, "gen_ai_client_token_usage_count", gen_ai_token_type="input", **labels) >= 1
    assert value(http, "gen_ai_client_operation_time_to_first_chunk_seconds_count") >= 1
    assert value(http, "footnote_model_output_rate_per_second_count") >= 1


def test_a_chats_cost_holds_that_of_rewriting_its_message(stack, http):
    stack.fresh()
    first = http.post("/chat", json={"message": QUESTION, "min_score": 0}).json()
    again = {"message": "And when was it built?", "conversation_id": first["conversation_id"]}
    second = http.post("/chat", json=again).json()
    assert second["usage"]["prompt_tokens"] == 2 * first["usage"]["prompt_tokens"]
    assert second["cost_usd"] > first["cost_usd"]


def test_an_exemplar_leads_to_a_trace_that_was_sent(stack, http, receiver):
    stack.fresh()
    trace_id = ask(http).json()["trace_id"]
    found = [
        sample
        for sample in samples(http)["footnote_answer_duration_seconds_bucket"]
        if sample.exemplar and sample.exemplar.labels["trace_id"] == trace_id
    ]
    assert len(found) == 1
    receiver.wait_for(lambda: receiver.spans(trace_id, name="footnote.query"))
    span = receiver.span("footnote.query", trace_id=trace_id)
    assert found[0].exemplar.labels["span_id"] == span.span_id
    assert found[0].exemplar.value == pytest.approx((span.end_ns - span.start_ns) / 1e9, abs=0.02)


def test_who_does_not_ask_for_openmetrics_gets_plain_text(stack, http):
    stack.fresh()
    ask(http)
    plain = samples(http, accept="text/plain")
    assert plain["footnote_answer_duration_seconds_count"]
    assert not any(sample.exemplar for found in plain.values() for sample in found)


def test_the_process_its_pool_and_its_collections_are_seen(http):
    assert until(lambda: value(http, "footnote_collection_documents", footnote_collection="default") == 4)
    assert value(http, "footnote_collection_chunks", footnote_collection="default") == 4
    assert 0 < value(http, "footnote_generation_age_seconds") < 3600
    assert value(http, "db_client_connection_max") == 12
    assert value(http, "db_client_connection_count", db_client_connection_state="idle") >= 1
    assert value(http, "process_memory_usage_bytes") > 100_000_000
    assert value(http, "process_cpu_time_seconds_total", cpu_mode="user") > 0
    assert value(http, "process_unix_file_descriptor_count") > 10
    assert until(lambda: value(http, "footnote_event_loop_lag_seconds_count") >= 2)
    assert value(http, "footnote_breaker_state", footnote_state="closed") == 1


def test_the_queue_is_seen_without_a_worker(stack, http):
    assert until(lambda: samples(http).get("footnote_jobs"))
    assert value(http, "footnote_jobs") == 0
    submit(stack.dsn, "wait", "wait", "wait")
    stack.rows("UPDATE footnote.jobs SET created_at = now() - interval '90 seconds' RETURNING id")
    try:
        assert until(lambda: value(http, "footnote_jobs", footnote_status="queued") == 3)
        assert {sample.labels["footnote_status"] for sample in samples(http)["footnote_jobs"]} == {
            "queued",
            "running",
            "failed",
        }
        assert 90 <= value(http, "footnote_jobs_age_seconds") < 300
    finally:
        empty_the_queue(stack.dsn)


def test_flips_are_counted_from_the_first_and_each_has_a_span(stack, http, receiver):
    identity, labels = stack.embedder.identity, {"footnote_collection": "flipped"}
    add_collection(stack.dsn, "flipped", embedding=identity)
    ask(http, "/retrieve", collection="flipped").raise_for_status()
    (before,) = (s for s in samples(http)["footnote_generation_flips_total"] if s.labels.items() >= labels.items())
    assert before.value == 0
    flip(stack.dsn, "flipped", add_generation(stack.dsn, "flipped", embedding=identity))
    assert until(lambda: value(http, "footnote_generation_flips_total", **labels) == 1)
    flip(stack.dsn, "flipped", "1")
    assert until(lambda: value(http, "footnote_generation_flips_total", **labels) == 2)
    receiver.wait_for(lambda: len(receiver.spans(name="footnote.generation.switch")) == 2)
    told = [span.attributes for span in receiver.spans(name="footnote.generation.switch")]
    assert [(each["footnote.collection"], each["footnote.generation"]) for each in told] == [
        ("flipped", "2"),
        ("flipped", "1"),
    ]
    assert value(http, "footnote_generations_behind") == value(http, "footnote_generations_old") == 0


def test_a_flip_that_brings_its_trace_along_has_the_servers_switch_in_it(stack, http, receiver):
    add_collection(stack.dsn, "traced", embedding=stack.embedder.identity)
    ask(http, "/retrieve", collection="traced").raise_for_status()
    add_generation(stack.dsn, "traced", embedding=stack.embedder.identity)
    stack.rows(  # in one transaction
        """UPDATE footnote.generations g SET state = CASE number WHEN 1 THEN 'retired' ELSE 'active' END,
               activated_at = now(), retired_at = CASE number WHEN 1 THEN now() END
           FROM footnote.collections c WHERE c.id = g.collection_id AND c.name = 'traced';
           SELECT pg_notify('footnote_flips', %s)""",
        f"traced {CALLER}",
    )
    receiver.wait_for(lambda: receiver.spans(TRACE, name="footnote.generation.switch"))
    span = receiver.span("footnote.generation.switch", trace_id=TRACE)
    assert (span.parent_id, span.attributes["footnote.generation"]) == (PARENT, "2")


def test_a_generation_that_a_request_still_reads_is_seen(stack, http):
    gate, identity = threading.Event(), stack.embedder.identity
    stack.fresh(default=Reply("one two three four five six", gate=gate))
    with http.stream("POST", "/query/stream", json={"question": QUESTION, "min_score": 0}) as response:
        pieces = response.iter_text()
        next(pieces)
        flip(stack.dsn, "default", add_generation(stack.dsn, "default", embedding=identity))
        assert until(lambda: value(http, "footnote_generations_old") == 1)
        flip(stack.dsn, "default", "1")
        gate.set()
        for _ in pieces:
            pass
    assert until(lambda: value(http, "footnote_generations_old") == 0)


def test_waiting_for_the_database_is_seen(http):
    assert value(http, "db_client_connection_wait_time_seconds_count") > 5
    assert value(http, "db_client_operation_duration_seconds_count", db_operation_name="SELECT") > 5


def test_replays_are_cache_hits(stack, http):
    stack.fresh()
    for _ in range(3):
        http.post("/query", json={"question": QUESTION}, headers={"Idempotency-Key": "counted"})
    counted = {
        result: value(http, "footnote_cache_lookups_total", footnote_cache="answers", footnote_result=result)
        for result in ("hit", "miss")
    }
    assert counted == {"hit": 2, "miss": 1}


def test_a_mode_and_a_collection_that_there_are_not_make_no_new_labels(http):
    assert ask(http, mode="made-up-mode").status_code == 422
    assert ask(http, collection="made-up-collection").status_code == 404
    assert "made-up" not in http.get("/metrics").text
    labels = {"footnote_mode": "other", "footnote_outcome": "invalid-request"}
    assert value(http, "footnote_answer_duration_seconds_count", **labels) == 1


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=a.b", "text/plain;version=x", "x" * 5000, "*/*"]
)
def test_who_accepts_what_there_is_not_gets_plain_text(http, accept):
    response = http.get("/metrics", headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert http.head("/metrics").status_code == 200


def test_many_scrapes_at_once_are_all_whole(http):
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: http.get("/metrics", headers={"Accept": OPEN_METRICS}).text, range(40)))
    assert all(text.endswith("# EOF\n") for text in texts)


def test_nothing_that_was_not_asked_of_a_model_counts_as_a_call(stack, http):
    def calls():
        return value(http, "gen_ai_client_operation_duration_seconds_count", gen_ai_operation_name="chat")

    def first_tokens():
        return value(http, "footnote_answer_time_to_first_token_seconds_count")

    before = calls(), first_tokens()
    assert ask(http, min_score=1).json()["finish_reason"] == "no_context"
    assert (calls(), first_tokens()) == before
    stack.fresh(default=Reply(fault="unavailable"))
    for _ in range(5):
        assert ask(http).status_code == 502
    asked, counted = len(stack.model.requests), calls()
    assert value(http, "footnote_breaker_state", footnote_state="open") == 1
    for _ in range(3):
        assert ask(http).status_code == 503
    assert (len(stack.model.requests), calls()) == (asked, counted)
    stack.fresh()
    assert until(lambda: ask(http).status_code == 200)


def test_metrics_are_pushed_too_and_the_last_ones_at_the_end(stack, process, http, receiver):
    stack.fresh()
    ask(http, k=3)
    http.post("/feedback", json={"trace_id": "a" * 32, "rating": "up"})
    process.signal(signal.SIGTERM)
    assert process.ended()[0] == 0
    (rating,) = receiver.points("footnote.feedback", {"footnote.rating": "up"})
    assert rating.value == 1
    durations = receiver.points("footnote.answer.duration", {"footnote.outcome": "stop"})
    assert any(point.exemplars for point in durations)
    assert receiver.points("otel.sdk.processor.span.processed")  # what the SDK drops is counted as well
