"""Traces of a real server, as a real receiver gets them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.otlp import start_receiver
from support.programs import Program
from support.stack import PATIENCE, until

SERVER = ("-m", "server")
QUESTION = "Who built the lighthouse?"
CALLER = "00-{trace}-00f067aa0ba902b7-{flags}"
FOUND = [
    "      StoreRetriever.aretrieve",
    "        embeddings all-MiniLM-L6-v2",
    "        SELECT footnote.data_generation_1",
]
WRITTEN = [
    "      CitingSynthesizer.asynthesize",
    "        CitingSynthesizer.aget_response",
]


@contextmanager
def traced_server(stack, receiver, **env):
    """Serve with spans sent to a receiver; yields a client and the process."""
    to = {"TELEMETRY__ENDPOINT": receiver.http_url, "LLM__MAX_RETRIES": "0", "STREAMS__GRACE": "0"}
    to |= {"CACHE__EMBEDDING_BYTES": "0", **env}  # questions come again, and each shall have the whole trace
    with (
        stack.process(program=SERVER, LLM__BREAKER_FAILURES="0", **to) as process,
        httpx.Client(base_url=process.url, timeout=PATIENCE) as http,
    ):
        yield http, process


@pytest.fixture(scope="module")
def receiver():
    with start_receiver() as started:
        yield started


@pytest.fixture(scope="module")
def served(stack, receiver):
    with traced_server(stack, receiver) as (http, _):
        yield http


def ask(http, path="/query", *, question=QUESTION, headers=None, **body):
    key = "message" if path.startswith("/chat") else "question"
    return http.post(path, json={key: question, "min_score": 0, **body}, headers=headers or {})


def trace_of(response):
    if "event-stream" in response.headers["content-type"]:
        return parse(response.text)[0].data["trace_id"]
    return response.json()["trace_id"]


def spans_of(receiver, response, *, root):
    """Return a trace's spans by name, once its root has come."""
    trace_id = trace_of(response)
    receiver.wait_for(lambda: receiver.spans(trace_id, name=root))
    return {span.name: span for span in receiver.spans(trace_id)}


def in_order(tree):
    """Return a tree without what runs beside the model or now and then, whose place among the others is chance."""
    chance = {
        "SELECT footnote.lexicons",
        "SELECT footnote.tenants",
        "DELETE footnote.spending",
        "wait for a connection",
    }
    return [line for line in tree if line.strip() not in chance]


def recorded_errors(spans):
    """Return the names of the spans in which an exception was recorded."""
    return [name for name, span in spans.items() for event in span.events if event.name == "exception"]


def test_a_query_is_one_trace_from_the_request_to_the_last_token(stack, served, receiver):
    stack.fresh()
    first = ask(served)  # looks up which generation answers, once for all questions until it is flipped
    spans_of(receiver, first, root="POST /query")
    assert not any("footnote.leases" in name for name in receiver.tree(trace_of(first)))  # taken behind the answer
    response = ask(served)
    spans = spans_of(receiver, response, root="POST /query")
    assert in_order(receiver.tree(trace_of(response))) == [
        "POST /query",
        "  footnote.query",
        "    RetrieverQueryEngine.aquery",
        *FOUND,
        *WRITTEN,
        "    chat m",
    ]
    answer = spans["footnote.query"].attributes
    assert {name: answer[name] for name in ("footnote.mode", "footnote.collection", "footnote.generation")} == {
        "footnote.mode": "hybrid",
        "footnote.collection": "default",
        "footnote.generation": "1",
    }
    body = response.json()
    assert answer["footnote.retrieved"] == len(body["citations"]) == len(answer["footnote.scores"])
    assert answer["footnote.cited"] == sum(citation["cited"] for citation in body["citations"])
    assert answer["footnote.outcome"] == body["finish_reason"] == "stop"
    assert spans["POST /query"].attributes["http.route"] == "/query"
    assert spans["POST /query"].attributes["http.response.status_code"] == 200


@pytest.mark.parametrize("streams", [False, True])
def test_the_models_span_follows_the_conventions_for_generative_ai(stack, served, receiver, streams):
    stack.fresh()
    path = "/query/stream" if streams else "/query"
    response = ask(served, path, temperature=0.3, max_tokens=77)
    usage = ending(parse(response.text)).data["usage"] if streams else response.json()["usage"]
    call = spans_of(receiver, response, root=f"POST {path}")["chat m"]
    assert call.kind == "client"
    first = call.attributes.get("gen_ai.response.time_to_first_chunk")  # a whole answer has none
    assert (0 < first <= (call.end_ns - call.start_ns) / 1e9) if streams else first is None
    assert {name: value for name, value in call.attributes.items() if "time" not in name} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai_like",
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 77,
        "gen_ai.request.temperature": 0.3,
        "gen_ai.request.stream": streams,
        "gen_ai.response.model": "scripted-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
    }


def test_a_statement_follows_the_conventions_for_databases_and_tells_no_sql(stack, served, receiver):
    stack.fresh()
    spans = spans_of(receiver, ask(served), root="POST /query")
    statement = spans["SELECT footnote.data_generation_1"]
    assert statement.kind == "client"
    assert statement.attributes == {
        "db.system.name": "postgresql",
        "db.operation.name": "SELECT",
        "db.collection.name": "footnote.data_generation_1",
        "db.query.summary": "SELECT footnote.data_generation_1",
    }


def test_a_chats_stream_is_one_trace_and_lasts_as_long_as_the_stream(stack, served, receiver):
    stack.fresh(Reply("one two three four five", delay=0.1))
    began = time.time_ns()
    response = ask(served, "/chat/stream")
    lasted = time.time_ns() - began
    spans = spans_of(receiver, response, root="POST /chat/stream")
    tree = receiver.tree(trace_of(response))
    assert [line for line in in_order(tree) if line.startswith(("P", "  f", "    ")) and "COMMIT" not in line] == [
        "POST /chat/stream",
        "  footnote.chat",
        "    CondensingChatEngine.astream_chat",
        *FOUND,
        "    CitingSynthesizer.asynthesize",
        "      CitingSynthesizer.aget_response",
        "    chat m",
    ]
    assert {"  INSERT footnote.conversations", "  UPDATE footnote.turns"} <= set(tree)
    for name in ("POST /chat/stream", "footnote.chat", "chat m"):
        assert 0.5e9 <= spans[name].end_ns - spans[name].start_ns <= lasted + 0.3e9, name
    assert spans["footnote.chat"].attributes["footnote.outcome"] == "stop"
    assert spans["footnote.chat"].attributes["footnote.time_to_first_token"] < 0.5


@pytest.mark.parametrize(
    ("fault", "slug"), [("server-error", "model-failed"), ("cut", "model-failed"), ("unauthorized", "model-rejected")]
)
@pytest.mark.parametrize("path", ["/query/stream", "/chat/stream"])
def test_a_failure_is_recorded_once_where_it_happened_with_the_problems_slug(
    *, stack, served, receiver, path, fault, slug
):
    stack.fresh(Reply("one two three four five", fault=fault))
    response = ask(served, path)
    spans = spans_of(receiver, response, root=f"POST {path}")
    answer = spans["footnote" + path.removesuffix("/stream").replace("/", ".")]
    assert parse(response.text)[-2].data["type"] == f"/problems/{slug}"
    assert recorded_errors(spans) == ["chat m"]
    for span in (spans["chat m"], answer):
        assert (span.status_code, span.attributes["error.type"]) == ("error", slug)
    assert answer.attributes["footnote.outcome"] == slug
    assert spans["StoreRetriever.aretrieve"].status_code == "unset"


def test_an_error_before_the_answer_is_on_its_span_and_on_the_requests(served, receiver):
    response = ask(served, collection="nothing-here")
    spans = spans_of(receiver, response, root="POST /query")
    assert response.status_code == 404
    assert recorded_errors(spans) == []  # it is the caller's
    assert spans["footnote.query"].status_code == "unset"
    assert spans["footnote.query"].attributes["error.type"] == "collection-not-found"
    assert spans["POST /query"].attributes["footnote.problem"] == "collection-not-found"
    assert spans["POST /query"].status_code == "unset"  # 4xx: the conventions leave a server's span alone


@pytest.mark.parametrize("path", ["/query/stream", "/chat/stream"])
def test_a_stream_that_its_client_left_says_so_and_is_no_error(stack, served, receiver, path):
    stack.fresh(Reply("one two three four five six", delay=0.2))
    key = "message" if path.startswith("/chat") else "question"
    with served.stream("POST", path, json={key: QUESTION, "min_score": 0}) as response:
        seen, pieces = "", response.iter_text()
        while "event: token" not in seen:
            seen += next(pieces)
    trace_id = parse(seen)[0].data["trace_id"]
    name = "footnote" + path.removesuffix("/stream").replace("/", ".")
    receiver.wait_for(lambda: receiver.spans(trace_id, name=name))
    answer, call = receiver.span(name, trace_id=trace_id), receiver.span("chat m", trace_id=trace_id)
    assert (answer.status_code, answer.attributes["footnote.outcome"]) == ("unset", "stream-abandoned")
    assert (call.status_code, call.attributes["footnote.outcome"]) == ("unset", "cancelled")
    assert not answer.events
    assert not call.events
    receiver.wait_for(lambda: receiver.spans(trace_id, name=f"POST {path}"))
    request = receiver.span(f"POST {path}", trace_id=trace_id)
    assert (request.status_code, request.attributes.get("error.type")) == ("unset", None)
    assert answer.end_ns - answer.start_ns < 1.2e9  # it would have taken that long


def test_a_trace_begins_at_the_caller_and_goes_on_at_the_model(stack, served, receiver):
    stack.fresh()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": CALLER.format(trace=trace_id, flags="01"), "baggage": "user=secret-baggage"}
    response = ask(served, headers=headers)
    spans = spans_of(receiver, response, root="POST /query")
    assert trace_of(response) == trace_id
    assert spans["POST /query"].parent_id == "00f067aa0ba902b7"
    sent = stack.model.requests[-1].headers
    assert sent["traceparent"] == f"00-{trace_id}-{spans['chat m'].span_id}-01"
    assert "baggage" not in sent


def test_a_caller_that_samples_nothing_is_obeyed_and_a_broken_one_is_not(stack, served, receiver):
    stack.fresh()
    silent = "5bf92f3577b34da6a3ce929d0e0e4736"
    ask(served, headers={"traceparent": CALLER.format(trace=silent, flags="00")})
    broken = ask(served, headers={"traceparent": "00-zz-zz-zz"})
    spans_of(receiver, broken, root="POST /query")
    assert not receiver.spans(silent)


def test_probes_and_scrapes_make_no_traces(served, receiver):
    for path in ("/health", "/ready", "/metrics"):
        assert served.get(path).status_code == 200
    spans_of(receiver, ask(served), root="POST /query")
    assert not [span for span in receiver.spans() if span.kind == "server" and span.name.startswith("GET")]


def test_feedback_is_on_the_trace_of_its_answer(stack, served, receiver):
    stack.fresh()
    answer = ask(served)
    trace_id = trace_of(answer)
    given = {"trace_id": trace_id, "rating": "down", "comment": "secret-comment"}
    assert served.post("/feedback", json=given).status_code == 201
    receiver.wait_for(lambda: receiver.spans(trace_id, name="footnote.feedback"))
    remark = receiver.span("footnote.feedback", trace_id=trace_id)
    assert (remark.parent_id, remark.attributes) == (None, {"footnote.rating": "down"})


def test_a_stream_that_takes_too_long_says_so_whoever_reads_it_slowly(stack, receiver):
    stack.fresh(Reply(("x" * 2000 + " ") * 20_000))
    slow = {"STREAMS__TOTAL_TIMEOUT": "1.5", "STREAMS__WINDOW_BYTES": "1024", "LLM__TOKEN_TIMEOUT": "10"}
    with traced_server(stack, receiver, **slow) as (http, _):
        with http.stream("POST", "/query/stream", json={"question": QUESTION, "min_score": 0}) as response:
            pieces = response.iter_text()
            seen = next(pieces)
            time.sleep(2.5)
            seen += "".join(pieces)
        events = parse(seen)
        trace_id = events[0].data["trace_id"]
        assert events[-2].data["type"] == "/problems/deadline-exceeded"
        receiver.wait_for(lambda: receiver.spans(trace_id, name="footnote.query"))
    answer = receiver.span("footnote.query", trace_id=trace_id)
    assert (answer.status_code, answer.attributes["error.type"]) == ("error", "deadline-exceeded")


def test_a_replayed_answer_says_so_and_has_the_trace_of_the_answer(stack, served, receiver):
    stack.fresh()
    traces = set()
    for _ in range(2):
        response = ask(served, headers={"Idempotency-Key": "traced-once"})
        traces.add(trace_of(response))
    assert len(traces) == 1
    receiver.wait_for(
        lambda: [span for span in receiver.spans(name="POST /query") if span.attributes.get("footnote.cache_hit")]
    )
    assert response.headers["Idempotent-Replayed"] == "true"


def test_tools_called_over_stdio_are_traces_of_their_own(stack, receiver):
    settings = {
        "DATABASE__URL": stack.dsn,
        "DATA_DIR": str(stack.data_dir),
        "LLM__PROVIDER": "extractive",
        "TELEMETRY__ENDPOINT": receiver.http_url,
    }
    receiver.forget()
    popen = Program(
        [*SERVER, "mcp"],
        env=os.environ | {f"FOOTNOTE_{name}": value for name, value in settings.items()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    def say(**message):
        popen.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        popen.stdin.flush()

    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
    say(id=1, method="initialize", params=client)
    assert json.loads(popen.stdout.readline())["id"] == 1
    say(method="notifications/initialized")
    say(id=2, method="tools/call", params={"name": "ask", "arguments": {"question": QUESTION}})
    assert not json.loads(popen.stdout.readline())["result"].get("isError")
    popen.stdin.close()
    assert popen.wait(PATIENCE) == 0
    popen.stdout.close()
    (answer,) = receiver.spans(name="footnote.query")
    assert answer.parent_id is None
    assert "    StoreRetriever.aretrieve" in receiver.tree(answer.trace_id)


def test_grpc_delivers_the_same(stack):
    stack.fresh()
    grpc = {"TELEMETRY__PROTOCOL": "grpc", "TELEMETRY__HEADERS": "x-team=lighthouse"}
    with start_receiver() as own:
        with traced_server(stack, own, TELEMETRY__ENDPOINT=own.grpc_url, **grpc) as (http, process):
            spans = spans_of(own, ask(http), root="POST /query")
            assert spans["chat m"].attributes["gen_ai.usage.input_tokens"] == 11
            process.signal(signal.SIGTERM)
            assert process.ended()[0] == 0
        assert {delivery.protocol for delivery in own.deliveries} == {"grpc"}
        assert {delivery.headers["x-team"] for delivery in own.deliveries} == {"lighthouse"}
        assert own.points("footnote.answer.duration", {"footnote.outcome": "stop"})


def test_nothing_is_sent_of_what_is_not_sampled_and_the_answer_still_has_its_id(stack):
    stack.fresh()
    with start_receiver() as own, traced_server(stack, own, TELEMETRY__SAMPLE_RATIO="0") as (http, process):
        response = ask(http)
        asked = ask(http, headers={"traceparent": CALLER.format(trace="6" * 32, flags="01")})
        spans_of(own, asked, root="POST /query")
        assert re.fullmatch("[0-9a-f]{32}", trace_of(response))
        process.signal(signal.SIGTERM)
        assert process.ended()[0] == 0
        assert {span.trace_id for span in own.spans()} == {"6" * 32}


def test_without_telemetry_nothing_is_told_and_all_else_works(stack):
    stack.fresh()
    with start_receiver() as own, traced_server(stack, own, TELEMETRY__ENABLED="false") as (http, process):
        assert ask(http).json()["trace_id"] is None
        assert http.get("/metrics").text == ""
        process.signal(signal.SIGTERM)
        assert process.ended()[0] == 0
        assert not own.deliveries


@pytest.mark.parametrize("trouble", ["gone", pytest.param("silent", marks=pytest.mark.soak)])
def test_a_dead_collector_costs_nothing_and_is_told_once(stack, trouble):
    stack.fresh()
    with start_receiver() as own, traced_server(stack, own, TELEMETRY__METRICS_INTERVAL="1") as (http, process):
        ask(http)
        own.wait_for(lambda: own.spans() and own.metrics())
        own.close() if trouble == "gone" else own.hang()
        for _ in range(10):
            assert ask(http).status_code == 200
            time.sleep(0.3)
        if trouble == "gone":
            told = until(lambda: http.get("/metrics").text if True else "", seconds=1)
            assert "footnote_answer_duration" in told
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        code, log = process.ended()
        took = time.monotonic() - began
    assert code == 0
    assert took < 20  # 3 s for what is queued
    assert log.count("telemetry is not delivered") == 1
    assert "Traceback" not in log
