"""Clients and databases that do what they should not, in the middle of a conversation."""

from __future__ import annotations

import json
import random
import socket
import time

import httpx
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.stack import PATIENCE, SERVERS, until

from server.streams import run
from storage.errors import StoreUnavailable
from storage.vector_store import ChunkStore

ASKED = "Who built the lighthouse of Ostrava Bay?"
CHAT = {"message": ASKED}


@pytest.fixture(params=SERVERS)
def serve(stack, request):
    """A function that serves, from this process or from several."""
    return getattr(stack, request.param)


def ask_and_leave(http, path, body, *, headers=b"", after):
    content = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", http.base_url.port)) as sock:
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
        sock.sendall(head % (path.encode(), headers, len(content)) + content)
        time.sleep(after)


@pytest.mark.parametrize("times", [10, pytest.param(80, marks=pytest.mark.soak)])
@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
def test_clients_that_leave_at_any_moment_leave_the_conversation_free(stack, serve, path, times):
    stack.fresh(default=Reply("one two three"))
    moments = random.Random(9)  # noqa: S311 (any moments will do)
    with serve(chat={"lease_seconds": 3600}, streams={"grace": 0}) as http:
        conversation = http.post("/chat", json=CHAT).json()["conversation_id"]
        body = CHAT | {"conversation_id": conversation}
        for _ in range(times):
            ask_and_leave(http, path, body, after=moments.uniform(0.001, 0.006))
            until(lambda: http.post("/chat", json=body).status_code == 200)


@pytest.mark.parametrize("times", [10, pytest.param(80, marks=pytest.mark.soak)])
def test_clients_that_leave_at_any_moment_leave_their_keys_free(stack, serve, times):
    stack.fresh(default=Reply("one two three"))
    moments = random.Random(3)  # noqa: S311 (any moments will do)
    with serve(chat={"lease_seconds": 3600}, server={"request_timeout": 10}) as http:
        for number in range(times):
            key = f"key-{number}"
            header = f"idempotency-key: {key}\r\n".encode()
            ask_and_leave(http, "/query", {"question": ASKED}, headers=header, after=moments.uniform(0.001, 0.006))
            again = http.post("/query", json={"question": ASKED}, headers={"Idempotency-Key": key})
            assert again.status_code == 200, again.text


def test_answers_and_passages_with_any_characters_are_kept_for_their_keys(stack, serve):
    text = 'In JSON a NUL is "\\u0000" or \0 and half a pair is \\ud83d [1].'
    stack.fresh(default=Reply(text))
    with serve() as http:
        for path, body in (("/query", {"question": ASKED}), ("/chat", CHAT)):
            first, second = (http.post(path, json=body, headers={"Idempotency-Key": path}) for _ in range(2))
            assert (first.status_code, second.status_code) == (200, 200)
            assert '"\\u0000" or' in second.json()["answer"]
            assert second.headers["idempotent-replayed"] == "true"


def test_deleting_a_conversation_deletes_the_replays_of_its_answers_too(stack, serve):
    stack.fresh()
    with serve() as http:
        first, replay = (http.post("/chat/stream", json=CHAT, headers={"Idempotency-Key": "replay"}) for _ in range(2))
        conversation = ending(parse(first.text)).data["conversation_id"]
        assert http.delete(f"/conversations/{conversation}").status_code == 204
        gone = [http.get(f"/streams/{answer.headers['x-stream-id']}").status_code for answer in (first, replay)]
    assert gone == [404, 404]


def test_a_request_that_could_never_be_answered_leaves_no_conversation_and_no_turn(stack, serve):
    stack.fresh()
    with serve() as http:
        before = {item["id"] for item in http.get("/conversations").json()["items"]}
        wrong = ({"mode": "nope"}, {"rerank": True}, {"filters": {"filters": [{"key": "a", "operator": "nope"}]}})
        refused = [http.post("/chat", json=CHAT | more).status_code for more in wrong]
        after = {item["id"] for item in http.get("/conversations").json()["items"]}
        conversation = http.post("/chat", json=CHAT).json()["conversation_id"]
        body = CHAT | {"conversation_id": conversation}
        refused += [http.post("/chat", json=body | more).status_code for more in (*wrong, {"collection": "other"})]
        messages = http.messages(conversation)
        assert http.post("/chat", json=body).status_code == 200
    assert {status // 100 for status in refused} == {4}
    assert after == before
    assert len(messages) == 2


def test_an_agent_does_not_answer_without_the_database(stack, monkeypatch):
    stack.fresh(
        Reply('Thought: look.\nAction: search\nAction Input: {"question": "lighthouse"}'),
        Reply("Thought: I can answer without using any more tools.\nAnswer: It was built in 1999 by Mallory."),
    )

    async def gone(*_):
        msg = "the database is not available"
        raise StoreUnavailable(msg)

    with stack.serve() as http:
        monkeypatch.setattr(ChunkStore, "search", gone)
        answer = http.post("/chat", json=CHAT | {"mode": "agent"})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")


def test_an_agent_keeps_to_the_options_of_its_request_and_counts_every_call(stack):
    stack.fresh(
        Reply('Thought: look.\nAction: search\nAction Input: {"question": "lighthouse"}'),
        Reply("Thought: I can answer without using any more tools.\nAnswer: Novak [1]."),
    )
    with stack.serve() as http:
        options = {"mode": "agent", "max_tokens": 77, "temperature": 1.5}
        usage = http.post("/chat", json=CHAT | options).json()["usage"]
    asked = [(request.body["max_tokens"], request.body["temperature"]) for request in stack.model.requests]
    assert asked == [(77, 1.5)] * 2
    assert usage["prompt_tokens"] == 22


def test_a_deadline_is_recorded_as_what_it_was(stack):
    stack.fresh(Reply("one two three", fault="hang-between"))
    with stack.serve(streams={"total_timeout": 1.5}) as http:
        events = http.events("/chat/stream", CHAT)
        kept = http.settled(events[0].data["conversation_id"])
    assert ending(events).data["type"] == "/problems/deadline-exceeded"
    assert (kept[1]["state"], kept[1]["problem"]) == ("failed", "deadline-exceeded")


def test_a_stream_that_is_joined_when_its_beginning_is_forgotten_is_told_whole(stack, monkeypatch):
    words = [f"w{number:05d}" + "x" * 500 for number in range(400)]  # 200 kB
    stack.fresh(Reply(" ".join(words), delay=0.003))
    monkeypatch.setattr(run, "MAX_BYTES", 65_536)
    monkeypatch.setattr(run, "WINDOW_BYTES", 1024)
    with stack.serve() as http:
        headers = {"Idempotency-Key": "trimmed"}
        url = f"{http.base_url}/query/stream"
        with httpx.stream("POST", url, json={"question": ASKED}, headers=headers, timeout=PATIENCE) as one:
            pieces, seen = one.iter_text(), ""
            while len(seen) < 150_000:
                seen += next(pieces)
            two = parse(http.post("/query/stream", json={"question": ASKED}, headers=headers).text)
            seen += "".join(pieces)
    text = "".join(event.data["token"] for event in two if event.name == "token")
    assert ending(two).name == "done"
    assert text.split() == words
    assert ending(parse(seen)).name == "done"
    assert len(stack.model.requests) == 1
