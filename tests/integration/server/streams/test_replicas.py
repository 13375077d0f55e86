"""Two servers on one database and one Redis: each goes on with what the other began."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.redis_server import start_redis
from support.stack import PATIENCE, texts, until

BODY = {"message": "Who built the lighthouse of Ostrava Bay?"}
WORDS = " ".join(f"word{n}" for n in range(12))


@pytest.fixture(scope="module")
def redis():
    with start_redis() as server:
        yield server


@pytest.fixture(scope="module")
def replicas(stack, redis):
    shared = {"redis": {"url": redis.url}, "streams": {"grace": 10}}
    with stack.serve(**shared) as one, stack.serve(**shared) as two:
        yield one, two


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh()


def read_until(pieces, mark):
    seen = ""
    while mark not in seen:
        seen += next(pieces)
    return seen


@contextmanager
def begun(url, *, mark="event: token", **headers):
    """Hold a chat's stream; yields its path on every replica, its conversation, and a function for the rest."""
    with httpx.stream("POST", f"{url}/chat/stream", json=BODY, timeout=PATIENCE, headers=headers) as response:
        pieces = response.iter_text()
        seen = read_until(pieces, mark)
        path = f"/streams/{response.headers['x-stream-id']}"
        yield path, parse(seen)[0].data["conversation_id"], lambda: seen + "".join(pieces)


def follow(http, path):
    """Read a stream on a replica that does not write it, as soon as it is known there."""

    def look():
        response = http.get(path)
        return response if response.status_code != 404 else None

    return until(look)


def test_a_stream_is_followed_on_the_other_replica_while_it_is_written(stack, replicas):
    one, two = replicas
    stack.fresh(Reply(WORDS, delay=0.1))
    with begun(one.base_url) as (path, _, rest), ThreadPoolExecutor(8) as pool:
        followers = [pool.submit(follow, two, path) for _ in range(8)]
        here = rest()
    there = {follower.result().text for follower in followers}
    assert [parse(text) for text in there] == [parse(here)]
    assert texts(parse(here)) == WORDS
    assert len(stack.model.requests) == 1


def test_whoever_reads_on_the_other_replica_keeps_the_model_at_work(stack, redis):
    stack.fresh(Reply(WORDS, delay=0.15))
    with (
        stack.serve(redis={"url": redis.url}, streams={"grace": 0.8}) as one,
        stack.serve(redis={"url": redis.url}) as two,
    ):
        with begun(one.base_url) as (path, conversation, _):
            pass
        events = parse(follow(two, path).text)
        assert two.settled(conversation)[-1]["state"] == "complete"
    assert ending(events).name == "done"
    assert texts(events) == WORDS


def test_nobody_reading_anywhere_ends_the_answer_for_both(stack, redis):
    stack.fresh(Reply("one two three", fault="hang-between"))
    with (
        stack.serve(redis={"url": redis.url}, streams={"grace": 0.5}) as one,
        stack.serve(redis={"url": redis.url}) as two,
    ):
        with begun(one.base_url) as (path, conversation, _):
            pass
        assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
        assert two.settled(conversation)[-1]["state"] == "abandoned"
        assert ending(parse(follow(two, path).text)).data["type"] == "/problems/stream-abandoned"


def test_a_turn_that_one_replica_answers_is_busy_on_the_other(stack, replicas):
    one, two = replicas
    stack.fresh(Reply("one two three", delay=0.3))
    with begun(one.base_url) as (_, conversation, rest):
        refused = two.post("/chat", json=BODY | {"conversation_id": conversation})
        assert ending(parse(rest())).name == "done"
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/conversation-busy")
    assert two.post("/chat", json=BODY | {"conversation_id": conversation}).status_code == 200
    assert one.messages(conversation) == two.messages(conversation)
    assert len(one.messages(conversation)) == 4


@pytest.mark.parametrize("deletes", [0, 1])
def test_deleting_a_conversation_on_either_replica_ends_its_stream_on_both(stack, replicas, deletes):
    one, two = replicas
    stack.fresh(Reply("one two three", fault="hang-between"))
    with begun(one.base_url) as (path, conversation, rest), ThreadPoolExecutor(2) as pool:
        follower = pool.submit(follow, two, path)
        time.sleep(0.3)
        assert replicas[deletes].delete(f"/conversations/{conversation}").status_code == 204
        there = follower.result(PATIENCE)
        assert ending(parse(there.text)).name == "error"
        here = pool.submit(rest).result(PATIENCE)
        assert ending(parse(here)).name == "error"
    for http in replicas:
        until(lambda http=http: http.get(path).status_code == 404)
        assert http.get(f"/conversations/{conversation}").status_code == 404
    assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)


@pytest.mark.parametrize("deletes", [0, 1])
def test_deleting_a_conversation_on_either_replica_removes_what_its_streams_said_from_both(replicas, deletes):
    one, two = replicas
    with begun(one.base_url) as (path, conversation, rest):
        assert ending(parse(rest())).name == "done"
    assert follow(two, path).status_code == 200
    assert replicas[deletes].delete(f"/conversations/{conversation}").status_code == 204
    for http in replicas:
        assert http.get(path).status_code == 404


def test_an_idempotency_key_is_one_on_both_replicas(stack, replicas):
    stack.fresh(Reply(WORDS, delay=0.1))
    key = {"Idempotency-Key": "one-on-both"}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: replicas[n % 2].post("/chat", json=BODY, headers=key), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["message_id"] for answer in answers}) == 1
    assert len(stack.model.requests) == 1


def test_a_replica_that_dies_is_mourned_once_and_its_work_is_taken_over(stack, redis):
    stack.fresh(Reply("one two three", fault="hang-between"), default=Reply("All is well [1]."))
    key = {"Idempotency-Key": "of-the-dead"}
    env = {"REDIS__URL": redis.url, "CHAT__LEASE_SECONDS": "2"}
    with (
        stack.serve(redis={"url": redis.url}, chat={"lease_seconds": 2}) as two,
        stack.process(**env) as one,
        ThreadPoolExecutor(2) as pool,
    ):
        cut = ""
        with begun(one.url, **key) as (path, conversation, rest):
            follower = pool.submit(follow, two, path)
            time.sleep(0.5)
            one.signal(signal.SIGKILL)
            with pytest.raises(httpx.RemoteProtocolError):
                cut = rest()
        late = pool.submit(follow, two, path)
        answer = pool.submit(two.post, "/chat", json=BODY, headers=key).result(PATIENCE)
        events, late_events = (parse(each.result(PATIENCE).text) for each in (follower, late))
        kept = two.settled(conversation)
        on = two.post("/chat", json=BODY | {"conversation_id": conversation, "mode": "context"})
        messages = two.messages(conversation)
    assert cut == ""
    assert (ending(events).data["type"], ending(events).data["retryable"]) == ("/problems/stream-lost", True)
    assert texts(events) == "one two three"
    assert late_events == events
    assert [message["state"] for message in kept] == ["abandoned", "abandoned"]
    assert answer.status_code == on.status_code == 200
    assert answer.json()["answer"] == "All is well [1]."
    assert answer.json()["conversation_id"] != conversation
    assert [message["state"] for message in messages[1::2]] == ["abandoned", "complete"]
