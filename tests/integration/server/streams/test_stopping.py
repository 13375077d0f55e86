"""Answers that whoever asked has stopped: the model is cancelled, readers are told, what was written is kept."""

from __future__ import annotations

from contextlib import contextmanager

import httpx
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.redis_server import start_redis
from support.stack import PATIENCE, SERVERS, texts, until

ASKED = "Who built the lighthouse of Ostrava Bay?"
SLOW = Reply("It was Ada Voss [1] who built it", delay=0.4)
PATHS = {"query": "/query/stream", "chat": "/chat/stream"}
BODIES = {"query": {"question": ASKED}, "chat": {"message": ASKED}}
PATIENT = {"token_timeout": 120, "total_timeout": 240}
LOOKS = 6
"""Of connections so many, some reach each worker."""


@pytest.fixture(scope="module", params=SERVERS)
def http(stack, request):
    """A server that waits for its model longer than a test, and for readers that left, too."""
    with getattr(stack, request.param)(llm=PATIENT, streams={"grace": 120}) as client:
        yield client


@contextmanager
def begun(http, kind="chat", **body):
    """Hold a stream whose model is slow; yields its path, its first event, and a function for the rest."""
    with http.stream("POST", PATHS[kind], json=BODIES[kind] | body) as response:
        pieces, seen = response.iter_text(), ""
        while "event: token" not in seen:
            seen += next(pieces)
        yield f"/streams/{response.headers['x-stream-id']}", parse(seen)[0].data, lambda: parse(seen + "".join(pieces))


def stop(http, path):
    """Stop a stream over a connection of its own."""
    with httpx.Client(base_url=http.base_url, timeout=PATIENCE) as other:
        return other.delete(path)


@pytest.mark.parametrize("kind", ["query", "chat"])
def test_stopping_cancels_the_model_and_tells_every_reader(stack, http, kind):
    stack.fresh(Reply("one two three four five six", delay=0.4))
    with begun(http, kind) as (path, _, rest):
        assert stop(http, path).status_code == 204
        last = ending(rest())
    assert (last.name, last.data["type"]) == ("error", "/problems/stream-stopped")
    assert last.data["retryable"] is False
    assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
    for _ in range(LOOKS):  # whichever worker is asked: it may be read to its end, and stopped once more
        assert stop(http, path).status_code == 204
        assert ending(parse(http.get(path).text)).data["type"] == "/problems/stream-stopped"


def test_the_conversation_keeps_what_was_written_and_goes_on(stack, http):
    stack.fresh(SLOW, default=Reply("In 1871 [1]."))
    with begun(http) as (path, sources, rest):
        assert stop(http, path).status_code == 204
        events = rest()
    asked, kept = http.messages(sources["conversation_id"])  # at once: stopping has waited for it
    assert (asked["state"], kept["state"]) == ("stopped", "stopped")
    assert (kept["problem"], kept["finish_reason"]) == ("stream-stopped", None)
    assert kept["content"] == texts(events) != ""
    assert [each["text"] for each in kept["citations"]] == [each["text"] for each in sources["citations"]]
    later = http.post("/chat", json={"message": "When?", "conversation_id": sources["conversation_id"]})
    assert later.json()["answer"] == "In 1871 [1]."
    assert kept["content"] in str(stack.model.requests[-1])


def test_what_has_ended_stays_as_it_is(stack, http):
    stack.fresh(Reply("In 1871 [1]."))
    response = http.post("/chat/stream", json=BODIES["chat"])
    assert stop(http, f"/streams/{response.headers['x-stream-id']}").status_code == 204
    kept = http.settled(parse(response.text)[0].data["conversation_id"])[-1]
    assert (kept["state"], kept["content"]) == ("complete", "In 1871 [1].")


def test_a_stream_of_nobody_cannot_be_stopped(http):
    for name in ("0" * 48, "f" * 48):
        refused = stop(http, f"/streams/{name}")
        assert (refused.status_code, refused.json()["type"]) == (404, "/problems/stream-not-found")
    assert stop(http, "/streams/nothing").status_code == 422


def test_it_is_stopped_on_another_replica(stack):
    stack.fresh(Reply("one two three four five six seven eight", delay=0.4))
    with start_redis() as redis:
        shared = {"redis": {"url": redis.url}, "llm": PATIENT, "streams": {"grace": 120}}
        with stack.serve(**shared) as one, stack.serve(**shared) as two:
            with begun(one) as (path, sources, rest):
                until(lambda: stop(two, path).status_code == 204)  # as soon as it is known there
                assert two.messages(sources["conversation_id"])[-1]["state"] == "stopped"
                assert ending(rest()).data["type"] == "/problems/stream-stopped"
            assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
            assert stop(two, path).status_code == 204
            assert stop(two, f"/streams/{'0' * 48}").status_code == 404
