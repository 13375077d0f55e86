"""Idempotency keys over real servers and a real database: one request, one answer, one call of the model."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.stack import PATIENCE, SERVERS, texts, until

from storage.chat.idempotency import KeyStore
from storage.errors import LeaseLost
from storage.leases import Leases

ASKED = "Who built the lighthouse of Ostrava Bay?"
BODIES = {"query": {"question": ASKED}, "chat": {"message": ASKED}}
REPLAYED = "idempotent-replayed"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
kinds = pytest.mark.parametrize("kind", ["query", "chat"])


@pytest.fixture(scope="module", params=SERVERS)
def http(stack, request):
    with getattr(stack, request.param)(streams={"grace": 20}) as client:
        yield client


@pytest.fixture(scope="module")
def other(stack):
    """A second server on the same database."""
    with stack.serve() as client:
        yield client


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh()
    stack.rows("DELETE FROM footnote.idempotency_keys")  # some tests use the same ones with each server


@pytest.fixture
def key(request):
    return {"Idempotency-Key": f"{request.node.name[-150:]}"}


def told(response):
    """Return what an answer says, whole or as a stream: its text, and for a chat where it is kept."""
    assert response.status_code == 200, response.text
    if response.headers["content-type"].startswith("application/json"):
        answer = response.json()
        return answer["answer"], answer.get("conversation_id"), answer.get("message_id")
    events = parse(response.text)
    done = ending(events)
    assert done.name == "done"
    return texts(events), done.data["conversation_id"], done.data["message_id"]


def turns(stack):
    return stack.rows("SELECT count(*) FROM footnote.turns")[0][0]


def at_once(*calls):
    """Make calls at the same time, each from a thread that waits for all the others."""
    barrier = threading.Barrier(len(calls))

    def call(each):
        barrier.wait()
        return each()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


@kinds
@pytest.mark.parametrize("first", ["", "/stream"])
@pytest.mark.parametrize("second", ["", "/stream"])
def test_the_same_key_and_body_has_the_same_answer_and_asks_nobody_again(  # noqa: PLR0917 (pytest names them)
    stack, http, kind, first, second, key
):
    before = turns(stack)
    answers = [
        http.post(f"/{kind}{path}", json=BODIES[kind], headers=key) for path in (first, second, second + "?again")
    ]
    assert len({told(answer) for answer in answers}) == 1
    assert [answer.headers.get(REPLAYED) for answer in answers] == [None, "true", "true"]
    assert len(stack.model.requests) == 1
    assert turns(stack) == before + (kind == "chat")
    if not first and not second:
        told_once, again = answers[0].json(), answers[1].json()
        assert told_once.pop("request_id") != again.pop("request_id")
        assert told_once == again


def test_what_a_chat_keeps_is_there_when_its_answer_is_given_again(http, key):
    first = http.post("/chat", json=BODIES["chat"], headers=key).json()
    again = http.post("/chat", json=BODIES["chat"], headers=key).json()
    kept = http.messages(first["conversation_id"])
    assert [message["state"] for message in kept] == ["complete", "complete"]
    assert again["citations"] == first["citations"] == kept[1]["citations"]
    # the turn is kept once, so the conversation is free and goes on
    on = http.post("/chat", json={"message": ASKED, "conversation_id": first["conversation_id"]})
    assert on.status_code == 200
    assert len(http.messages(first["conversation_id"])) == 4


@kinds
def test_twenty_at_once_join_one_call_of_the_model_whole_and_as_streams(stack, http, kind, key):
    stack.fresh(default=Reply("one two three four five", delay=0.15))
    before = turns(stack)
    answers = at_once(
        *(
            lambda path=path: http.post(f"/{kind}{path}", json=BODIES[kind], headers=key)
            for path in ["", "/stream"] * 10
        )
    )
    assert len({told(answer) for answer in answers}) == 1
    assert told(answers[0])[0] == "one two three four five"
    assert len(stack.model.requests) == 1
    assert turns(stack) == before + (kind == "chat")
    assert [answer.headers.get(REPLAYED) for answer in answers].count(None) == 1


@kinds
def test_two_servers_on_one_database_ask_the_model_once(stack, http, other, kind, key):
    stack.fresh(default=Reply("one two three four five", delay=0.1))
    before = turns(stack)
    answers = at_once(
        *(
            lambda client=client, path=path: client.post(f"/{kind}{path}", json=BODIES[kind], headers=key)
            for client in (http, other)
            for path in ["", "/stream"] * 4
        )
    )
    assert len({told(answer) for answer in answers}) == 1
    assert len(stack.model.requests) == 1
    assert turns(stack) == before + (kind == "chat")


def test_many_keys_on_two_servers_are_each_answered_once_and_nobody_waits_for_another_in_a_circle(stack, http, other):
    stack.fresh(default=Reply("one two"))
    keys = [{"Idempotency-Key": f"circle {n % 12}".replace(" ", "-")} for n in range(96)]
    answers = at_once(
        *(
            lambda n=n, key=key: (http, other)[n % 2].post("/chat", json=BODIES["chat"], headers=key)
            for n, key in enumerate(keys)
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["message_id"] for answer in answers}) == 12
    assert len(stack.model.requests) == 12


@kinds
@pytest.mark.parametrize("change", [{"k": 3}, {"temperature": 0.7}, {"collection": "default"}])
def test_another_body_under_the_same_key_is_refused(stack, http, kind, change, key):
    if kind == "query" and "collection" in change:
        change = {"mode": "keyword"}  # its collection is `default` where it names none
    assert http.post(f"/{kind}", json=BODIES[kind], headers=key).status_code == 200
    for path in ("", "/stream"):
        response = http.post(f"/{kind}{path}", json=BODIES[kind] | change, headers=key)
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-request")
        assert response.json()["errors"][0]["field"] == "Idempotency-Key"
    assert len(stack.model.requests) == 1


def test_a_chat_and_a_query_are_not_the_same_request(http, key):
    assert http.post("/query", json=BODIES["query"], headers=key).status_code == 200
    assert http.post("/chat", json=BODIES["chat"], headers=key).status_code == 422


def test_another_body_is_refused_while_the_first_is_being_answered(stack, http, other, key):
    stack.fresh(Reply("one two three", delay=0.4))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(http.post, "/query", json=BODIES["query"], headers=key)
        until(lambda: stack.model.requests)
        for client in (http, other):
            assert client.post("/query", json=BODIES["query"] | {"k": 3}, headers=key).status_code == 422
        assert first.result().status_code == 200


def test_what_means_the_same_is_the_same_body(stack, http, key):
    bodies = [{"question": ASKED}, {"k": 8, "question": ASKED}, {"question": ASKED, "stream": True, "mode": "hybrid"}]
    answers = [http.post("/query", json=body, headers=key) for body in bodies]
    assert len({told(answer) for answer in answers}) == 1
    assert len(stack.model.requests) == 1


@kinds
@pytest.mark.parametrize("path", ["", "/stream"])
@pytest.mark.parametrize("fault", ["server-error", "cut", "filtered"])
def test_an_attempt_that_fails_frees_the_key(stack, http, kind, path, fault, key):  # noqa: PLR0917 (pytest names them)
    stack.fresh(Reply("one two three four five", fault=fault), Reply("All is well [1]."))
    before = turns(stack)
    failed = http.post(f"/{kind}{path}", json=BODIES[kind], headers=key)
    if path:
        assert ending(parse(failed.text)).name == "error"
    else:
        assert failed.status_code == 502
    again = http.post(f"/{kind}{path}", json=BODIES[kind], headers=key)
    once_more = http.post(f"/{kind}", json=BODIES[kind], headers=key)
    assert told(again) == told(once_more)
    assert told(again)[0] == "All is well [1]."
    assert (again.headers.get(REPLAYED), once_more.headers.get(REPLAYED)) == (None, "true")
    assert len(stack.model.requests) == 2
    assert turns(stack) == before + 2 * (kind == "chat")


@pytest.mark.parametrize(
    ("body", "status"), [({"collection": "nowhere"}, 404), ({"mode": "nope"}, 422), ({"rerank": True}, 422)]
)
@kinds
def test_a_request_that_is_refused_frees_the_key(http, kind, body, status, key):
    for _ in range(2):
        assert http.post(f"/{kind}", json=BODIES[kind] | body, headers=key).status_code == status
    assert http.post(f"/{kind}", json=BODIES[kind], headers=key).status_code == 200


def test_a_busy_conversation_frees_the_key(stack, http, key):
    conversation = http.post("/chat", json=BODIES["chat"]).json()["conversation_id"]
    stack.fresh(Reply("one two three", delay=0.4))
    body = {"message": ASKED, "conversation_id": conversation, "mode": "context"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(http.post, "/chat", json=body)
        until(lambda: stack.model.requests)
        assert http.post("/chat", json=body, headers=key).status_code == 409
        assert first.result().status_code == 200
    assert http.post("/chat", json=body, headers=key).status_code == 200
    assert len(http.messages(conversation)) == 6


@pytest.mark.parametrize(("kind", "path"), [("query", ""), ("chat", "/stream")])
def test_a_client_that_leaves_and_comes_back_joins_its_answer(stack, http, kind, path, key):
    stack.fresh(Reply("one two three four five six", delay=0.2))
    before = turns(stack)
    with pytest.raises(httpx.ReadTimeout):
        http.post(f"/{kind}", json=BODIES[kind], headers=key, timeout=0.6)
    back = http.post(f"/{kind}{path}", json=BODIES[kind], headers=key)
    assert told(back)[0] == "one two three four five six"
    assert back.headers[REPLAYED] == "true"
    assert (len(stack.model.requests), stack.model.disconnects) == (1, 0)
    assert turns(stack) == before + (kind == "chat")


@kinds
def test_a_client_that_does_not_come_back_ends_its_answer_and_frees_the_key(stack, kind, key):
    stack.fresh(Reply("one two three", fault="hang-between"))
    with stack.serve(streams={"grace": 0.5}) as http:
        with pytest.raises(httpx.ReadTimeout):
            http.post(f"/{kind}", json=BODIES[kind], headers=key, timeout=0.5)
        assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
        again = http.post(f"/{kind}", json=BODIES[kind], headers=key)
    assert (again.status_code, again.headers.get(REPLAYED)) == (200, None)


@pytest.mark.parametrize("bad", ["", "a b", "x" * 256, "Schlüssel", "tab\tbed"])
def test_a_key_that_is_none_is_refused(http, bad):
    sent = {"Idempotency-Key": bad.encode("latin-1")}
    for path, body in (("/query", BODIES["query"]), ("/chat/stream", BODIES["chat"])):
        response = http.post(path, json=body, headers=sent)
        assert response.status_code == 422, bad
        assert response.json()["errors"][0]["field"].lower() == "idempotency-key"


@pytest.mark.parametrize("good", ["x", "~" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "'; DROP TABLE x; --"])
def test_every_other_key_is_taken(http, good):
    good = good.replace(" ", "_")
    answers = [http.post("/query", json=BODIES["query"], headers={"Idempotency-Key": good}) for _ in range(2)]
    assert [answer.headers.get(REPLAYED) for answer in answers] == [None, "true"]


def test_an_answer_is_kept_across_a_restart_of_the_server(stack, key):
    with stack.serve() as http:
        first = told(http.post("/chat", json=BODIES["chat"], headers=key))
    with stack.serve() as http:
        again = http.post("/chat/stream", json=BODIES["chat"], headers=key)
    assert told(again) == first
    assert again.headers[REPLAYED] == "true"
    assert len(stack.model.requests) == 1


def test_the_stream_of_an_answer_given_again_is_taken_up_again_by_its_key_alone(stack, http, key):
    http.post("/query", json=BODIES["query"], headers=key)
    again = http.post("/query/stream", json=BODIES["query"], headers=key)
    once_more = http.post("/query/stream", json=BODIES["query"], headers=key)
    assert [event.name for event in parse(again.text)] == ["sources", "token", "done", None]
    assert told(once_more) == told(again)
    assert http.get(f"/streams/{again.headers['x-stream-id']}").status_code == 404
    assert len(stack.model.requests) == 1


def test_what_is_kept_expires(stack, key):
    with stack.serve(server={"idempotency_hours": 1 / 3600}) as http:
        first = http.post("/query", json=BODIES["query"], headers=key)
        time.sleep(1.1)
        again = http.post("/query", json=BODIES["query"], headers=key)
        other = http.post("/query", json=BODIES["query"], headers={"Idempotency-Key": "unrelated"})
    assert [each.headers.get(REPLAYED) for each in (first, again, other)] == [None, None, None]
    assert len(stack.model.requests) == 3


@kinds
def test_the_key_of_a_server_that_died_is_taken_over_when_its_lease_has_expired(stack, kind, key):
    with stack.serve(chat={"lease_seconds": 2}, streams={"grace": 0.2}) as http:
        http.post(f"/{kind}", json=BODIES[kind], headers=key)
        # as a server leaves it that is gone in the middle of its answer
        stack.rows("UPDATE footnote.idempotency_keys SET answer = NULL WHERE key = %s", key["Idempotency-Key"])
        stack.rows(
            """INSERT INTO footnote.leases
               SELECT concat_ws(' ', 'key', tenant_id, left(encode(sha256(subject::bytea), 'hex'), 32), key),
                   gen_random_uuid(), clock_timestamp() + interval '1 second', tenant_id
               FROM footnote.idempotency_keys WHERE key = %s""",
            key["Idempotency-Key"],
        )
        stack.fresh()
        answer = http.post(f"/{kind}", json=BODIES[kind], headers=key)
        again = http.post(f"/{kind}", json=BODIES[kind], headers=key)
    assert [each.headers.get(REPLAYED) for each in (answer, again)] == [None, "true"]
    assert told(answer) == told(again)
    assert len(stack.model.requests) == 1


async def waiting(database, count):
    """Wait until so many statements wait for a lock."""
    async with asyncio.timeout(PATIENCE), database.dedicated(as_owner=True) as connection:
        while await connection.fetchval(WAITING) < count:  # noqa: ASYNC110 (the locks are the database's)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("answered", [True, False])
async def test_ending_an_answer_and_asking_for_it_lock_in_one_order(database, answered):
    leases = Leases(database, seconds=30)
    keys = KeyStore(database, leases=leases, hours=1)
    assert (await keys.take("k", fingerprint="f", stream_id="s")).mine
    async with database.transaction() as connection:
        for table in ("idempotency_keys", "leases"):
            await connection.execute(f"SELECT FROM footnote.{table} FOR UPDATE")
        asking = asyncio.create_task(keys.take("k", fingerprint="f", stream_id="t"))
        await waiting(database, 1)
        ending_it = keys.keep("k", answer_json="1") if answered else keys.release("k")
        ended = asyncio.create_task(ending_it)
        await waiting(database, 2)
    state, _ = await asyncio.gather(asking, ended)
    assert not state.mine
    later = await keys.take("k", fingerprint="f", stream_id="u")
    assert (later.mine, later.answer_json) == (not answered, "1" if answered else None)


async def test_a_lease_that_expired_while_its_holder_is_at_work_is_not_taken_by_another_request_of_the_same_server(
    database,
):
    leases = Leases(database, seconds=2)
    async with database.transaction() as connection:
        assert await leases.take(connection, "a")
        with leases.kept("a"):
            await connection.execute("UPDATE footnote.leases SET expires_at = now() - interval '1 minute'")
            assert not await leases.take(connection, "a")
        assert await leases.take(connection, "a")


async def test_a_key_that_was_taken_over_is_left_to_its_new_holder(database):
    cut_off, other = (KeyStore(database, leases=Leases(database, seconds=30), hours=1) for _ in range(2))
    assert (await cut_off.take("k", fingerprint="f", stream_id="s")).mine
    assert not (await other.take("k", fingerprint="f", stream_id="t")).mine
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute("UPDATE footnote.leases SET expires_at = now() - interval '1 minute'")
    assert (await other.take("k", fingerprint="f", stream_id="t")).mine
    with pytest.raises(LeaseLost):
        await cut_off.keep("k", answer_json='"of the first"')
    await cut_off.release("k")
    await other.keep("k", answer_json='"of the second"')
    assert (await cut_off.take("k", fingerprint="f", stream_id="u")).answer_json == '"of the second"'
