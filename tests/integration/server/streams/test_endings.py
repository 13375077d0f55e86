"""Every way in which a stream ends, forced over real connections: one terminal event, and what is kept of it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from support.events import ending, parse
from support.model_server import ANSWER, Reply
from support.stack import PATIENCE, SERVERS, execute, texts, until
from support.tcp_proxy import tcp_proxy

import server.services.conversations

ASKED = "Who built the lighthouse of Ostrava Bay?"
PATHS = {"query": "/query/stream", "chat": "/chat/stream"}
BODIES = {"query": {"question": ASKED}, "chat": {"message": ASKED}}
TIMEOUTS = {"token_timeout": 0.8, "total_timeout": 1.6}
SLOW = Reply("one two three four five six seven eight nine ten", delay=0.3)
BEGUN = "event: token"
kinds = pytest.mark.parametrize("kind", ["query", "chat"])


@pytest.fixture(scope="module", params=SERVERS)
def http(stack, request):
    """A server that waits for its model for a second at the most, and knows no grace."""
    with getattr(stack, request.param)(llm=TIMEOUTS, streams={"grace": 0}) as client:
        yield client


@pytest.fixture(params=SERVERS)
def serve(stack, request):
    """A function that serves, from this process or from several."""
    return getattr(stack, request.param)


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh()


def ask(http, kind):
    return http.events(PATHS[kind], BODIES[kind])


def answered(http, kind, events):
    """Return how the turn's answer is kept; for `/query`, nothing is."""
    return http.settled(events[0].data["conversation_id"])[-1] if kind == "chat" else None


def numbers(events):
    return [int(event.id) for event in events[:-1]]


@contextmanager
def opened(http, kind, *, until_mark=BEGUN):
    """Hold a stream whose model is at work; yields the response, what came so far, and a function for the rest."""
    with http.stream("POST", PATHS[kind], json=BODIES[kind]) as response:
        pieces, seen = response.iter_text(), ""
        while until_mark not in seen:
            seen += next(pieces)
        yield response, seen, lambda: parse(seen + "".join(pieces))


@kinds
@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_answer_ends_as_the_model_ended_it(stack, http, kind, reason):
    stack.fresh(Reply(finish_reason=reason))
    events = ask(http, kind)
    last = ending(events)
    assert (last.name, last.data["finish_reason"]) == ("done", reason)
    assert [event.name for event in events[:2]] == ["sources", "token"]
    assert numbers(events) == list(range(1, len(events)))
    if kept := answered(http, kind, events):
        assert (kept["state"], kept["finish_reason"], kept["problem"]) == ("complete", reason, None)
        assert (kept["id"], kept["content"]) == (last.data["message_id"], texts(events))
        assert [each["id"] for each in kept["citations"] if each["cited"]] == last.data["cited"] == [1]


@kinds
@pytest.mark.parametrize(
    ("fault", "problem", "status", "retryable"),
    [
        # before the first token, behind the sources
        ("server-error", "model-failed", 502, True),
        ("rate-limited", "rate-limited", 429, True),
        ("unauthorized", "model-rejected", 502, False),
        ("close", "model-unavailable", 503, True),
        ("cut-first", "model-failed", 502, True),
        ("html", "model-failed", 502, False),
        ("empty-choices", "model-failed", 502, False),
        ("hang-head", "deadline-exceeded", 504, True),
        ("hang-first", "deadline-exceeded", 504, True),
        # behind some tokens
        ("cut", "model-failed", 502, True),
        ("no-finish", "model-failed", 502, True),
        ("garbage", "model-failed", 502, False),
        ("error-event", "model-failed", 502, True),
        ("filtered", "model-rejected", 502, False),
        ("hang-between", "deadline-exceeded", 504, True),
    ],
)
def test_a_model_that_fails_ends_the_stream_in_one_error(  # noqa: PLR0917 (pytest names them)
    stack, http, kind, fault, problem, status, retryable
):
    stack.fresh(Reply("one two three four five", fault=fault))
    events = ask(http, kind)
    last = ending(events)
    assert events[0].name == "sources"
    assert (last.name, last.data["type"], last.data["status"]) == ("error", f"/problems/{problem}", status)
    assert last.data["retryable"] is retryable
    assert numbers(events) == list(range(1, len(events)))
    assert len(stack.model.requests) == 1
    if kept := answered(http, kind, events):
        assert (kept["state"], kept["problem"], kept["finish_reason"]) == ("failed", problem, None)
        assert kept["content"] == texts(events).strip()


@kinds
def test_a_model_that_says_everything_but_that_it_is_done_has_answered(stack, http, kind):
    stack.fresh(Reply(fault="hang-end"))
    events = ask(http, kind)
    assert ending(events).data["usage"] is None
    assert texts(events) == ANSWER.replace(" [2]", "")  # there is no second passage
    if kept := answered(http, kind, events):
        assert kept["state"] == "complete"


@kinds
def test_an_answer_that_takes_too_long_ends_at_the_models_deadline(stack, http, kind):
    stack.fresh(SLOW)
    events = ask(http, kind)
    assert ending(events).data["type"] == "/problems/deadline-exceeded"
    assert texts(events).startswith("one two")
    assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
    if kept := answered(http, kind, events):
        assert (kept["state"], kept["problem"]) == ("failed", "deadline-exceeded")
        assert kept["content"].startswith("one two")


@kinds
def test_an_answer_that_takes_too_long_ends_at_the_streams_deadline(stack, serve, kind):
    stack.fresh(SLOW)
    with serve(streams={"total_timeout": 1.0}) as http:
        events = ask(http, kind)
        assert ending(events).data["type"] == "/problems/deadline-exceeded"
        assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
        if kept := answered(http, kind, events):
            assert (kept["state"], kept["problem"]) == ("failed", "deadline-exceeded")


@pytest.mark.parametrize(("fault", "status"), [("server-error", 502), ("close", 503), ("hang-head", 504)])
def test_an_error_before_the_first_event_is_a_plain_problem(stack, http, fault, status):
    conversation = ask(http, "chat")[0].data["conversation_id"]
    stack.fresh(Reply(fault=fault))  # the call that makes the follow-up a question of its own
    response = http.post("/chat/stream", json={"message": "And when?", "conversation_id": conversation})
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"].startswith("application/problem+json")
    kept = http.messages(conversation)
    assert [(message["state"], message["content"]) for message in kept[2:]] == [
        ("failed", "And when?"),
        ("failed", ""),
    ]
    again = http.post("/chat", json={"message": "And when?", "conversation_id": conversation})
    assert again.status_code == 200


@contextmanager
def database_gone(stack):
    """Take the database away from everybody, and give it back."""
    others = stack.dsn.replace(f"/{stack.database}?", "/postgres?")
    execute(others, f"ALTER DATABASE {stack.database} ALLOW_CONNECTIONS false")
    try:
        execute(others, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", stack.database)
        yield
    finally:
        execute(others, f"ALTER DATABASE {stack.database} ALLOW_CONNECTIONS true")


@kinds
def test_a_database_that_goes_away_for_good_fails_what_must_be_kept_and_nothing_else(stack, monkeypatch, kind):
    monkeypatch.setattr(server.services.conversations, "TRIES", 2)
    stack.fresh(Reply("one two three four five six", delay=0.1))
    with stack.serve(chat={"lease_seconds": 2}) as http:
        with opened(http, kind) as (_, _, rest), database_gone(stack):
            events = rest()
            last = ending(events)
            if kind == "query":
                assert last.name == "done"
                return
            assert (last.name, last.data["type"]) == ("error", "/problems/store-unavailable")
            assert last.data["retryable"] is True
            assert texts(events) == "one two three four five six"
        conversation = events[0].data["conversation_id"]
        kept = http.settled(conversation)  # nobody could write it down; the lease tells, once it has expired
        assert [(message["role"], message["state"]) for message in kept] == [
            ("user", "abandoned"),
            ("assistant", "abandoned"),
        ]
        again = http.post("/chat", json={"message": ASKED, "conversation_id": conversation})
        assert again.status_code == 200
        assert [message["state"] for message in http.messages(conversation)[1::2]] == ["abandoned", "complete"]


def test_a_database_that_comes_back_in_time_has_the_turn(stack, serve):
    stack.fresh(Reply("one two three four five six", delay=0.1))
    with serve() as http:
        with opened(http, "chat") as (_, seen, rest):
            with database_gone(stack):
                time.sleep(0.7)  # the answer is complete by now, and cannot be kept
            events = rest()
        assert ending(events).name == "done"
        kept = answered(http, "chat", events)
        assert (kept["state"], kept["content"]) == ("complete", "one two three four five six")
    assert seen


@kinds
def test_a_server_that_stops_ends_what_does_not_end_by_itself(stack, kind):
    stack.fresh(Reply("one two three four five", fault="hang-between"))
    with stack.serve(server={"shutdown_timeout": 0.3}) as http, opened(http, kind) as (_, seen, rest):
        http.served.stop()
        events = rest()
        last = ending(events)
    assert (last.name, last.data["type"], last.data["status"]) == ("error", "/problems/overloaded", 503)
    assert last.data["retryable"] is True
    assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
    if kind == "chat":
        with stack.serve() as http:
            kept = http.messages(parse(seen)[0].data["conversation_id"])[-1]
        assert (kept["state"], kept["content"]) == ("abandoned", "one two three")


@kinds
@pytest.mark.parametrize("fault", ["hang-first", "hang-between", None])
def test_without_grace_a_client_that_leaves_ends_the_models_call_at_once(stack, kind, fault):
    stack.fresh(Reply("one two three " * 50, fault=fault, delay=0 if fault else 0.2))
    with stack.serve(streams={"grace": 0}) as http:
        mark = "event: sources" if fault == "hang-first" else BEGUN
        with opened(http, kind, until_mark=mark) as (response, seen, _):
            until(lambda: stack.model.requests)
        assert stack.model.wait_for_disconnects(1, timeout=2)
        late = parse(http.get(f"/streams/{response.headers['x-stream-id']}").text)
        assert ending(late).data["type"] == "/problems/stream-abandoned"
        if kept := answered(http, kind, parse(seen)):
            assert (kept["state"], kept["problem"]) == ("abandoned", "stream-abandoned")
    assert len(stack.model.requests) == 1


@kinds
def test_a_client_that_leaves_ends_the_models_call_after_the_grace_time(stack, serve, kind):
    stack.fresh(Reply("one two three four", fault="hang-between"))
    with serve(streams={"grace": 1}) as http:
        with opened(http, kind) as (_, seen, _):
            pass
        left = time.monotonic()
        assert not stack.model.wait_for_disconnects(1, timeout=0.6)
        assert stack.model.wait_for_disconnects(1, timeout=3)
        assert time.monotonic() - left > 0.9
        if kept := answered(http, kind, parse(seen)):
            assert (kept["state"], kept["problem"]) == ("abandoned", "stream-abandoned")


@kinds
def test_an_answer_that_is_done_within_the_grace_time_is_kept_whole(stack, serve, kind):
    stack.fresh(Reply("one two three four five", delay=0.1))
    with serve(streams={"grace": 10}) as http:
        with opened(http, kind) as (response, seen, _):
            pass
        if kept := answered(http, kind, parse(seen)):
            assert (kept["state"], kept["content"]) == ("complete", "one two three four five")
        events = parse(http.get(f"/streams/{response.headers['x-stream-id']}").text)
    assert ending(events).name == "done"
    assert texts(events) == "one two three four five"
    assert stack.model.disconnects == 0


@kinds
def test_a_client_that_leaves_before_the_first_event_ends_everything_at_once(stack, http, kind):
    if kind == "chat":
        body = BODIES[kind] | {"conversation_id": ask(http, kind)[0].data["conversation_id"]}
        stack.fresh(Reply(fault="hang-head"))  # the call that makes the follow-up a question of its own
        with pytest.raises(httpx.ReadTimeout):
            http.post(PATHS[kind], json=body, timeout=0.5)
        assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
        kept = http.settled(body["conversation_id"])[-1]
        assert (kept["state"], kept["problem"]) == ("abandoned", "stream-abandoned")
    else:
        stack.fresh(Reply(fault="hang-head"))
        with pytest.raises(httpx.ReadTimeout):
            http.post("/query", json=BODIES[kind], timeout=0.5)
        assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)


def test_many_streams_that_end_in_every_way_at_once_do_not_touch_one_another(stack):
    faults = [None, "cut", "error-event", "filtered", "hang-between", "server-error"] * 6
    stack.fresh(*[Reply("one two three four five", fault=fault, delay=0.02) for fault in faults])
    ends = []
    lock = threading.Lock()

    def read(http, kind):
        events = ask(http, kind)
        kept = answered(http, kind, events)
        with lock:
            ends.append((ending(events).name, texts(events), kept and kept["state"]))

    # so many at once take their time on a busy machine: only those that hang must come to its end
    with stack.serve(llm={"token_timeout": 5, "total_timeout": 20}, streams={"grace": 0}) as http:
        threads = [threading.Thread(target=read, args=(http, ("chat", "query")[n % 2])) for n in range(len(faults))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(http.app.state.runtime.streams) == 0
    assert len(ends) == len(faults)
    assert sum(name == "done" for name, _, _ in ends) == faults.count(None)
    for name, text, state in ends:
        assert "one two three four five".startswith(text)
        assert state in {None, "complete" if name == "done" else "failed"}


def test_a_database_that_answers_nothing_any_more_ends_the_stream_at_its_deadline(stack, monkeypatch):
    monkeypatch.setattr(server.services.conversations, "RECORDING_SECONDS", 0.5)
    silent = threading.Event()
    stack.fresh(Reply("one two three four five six", gate=silent))
    short = {"streams": {"total_timeout": 3}, "chat": {"lease_seconds": 2}, "database": {"acquire_timeout": 1}}
    with tcp_proxy(stack.dsn) as proxy, stack.by_way_of(proxy.dsn).serve(**short) as http:
        with opened(http, "chat") as (_, seen, rest):
            proxy.swallow()
            silent.set()
            last = ending(rest())
            proxy.forward()
        assert (last.name, last.data["type"]) == ("error", "/problems/deadline-exceeded")
        kept = answered(http, "chat", parse(seen))
        assert kept["state"] in {"abandoned", "failed"}


@kinds
def test_a_database_that_is_gone_before_the_first_event_is_a_plain_problem(stack, kind):
    with stack.serve() as http:
        with database_gone(stack):
            response = http.post(PATHS[kind], json=BODIES[kind])
        assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
        assert response.headers["retry-after"]
        assert ending(ask(http, kind)).name == "done"
    assert len(stack.model.requests) == 1
