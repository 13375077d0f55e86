"""Budgets for language models over real HTTP, PostgreSQL and a scripted model."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support.callers import AsNamed
from support.events import ending
from support.model_server import PROMPT_TOKENS, Reply
from support.stack import until

ASKED = {"question": "Who built the lighthouse of Ostrava Bay?", "max_tokens": 40}
ANSWER = "It was Milada Novak [1]."
PRICES = {"m": {"input": 1000, "output": 2000}}


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh(default=Reply(text=ANSWER))
    for table in ("spending", "reservations", "usage"):
        stack.rows(f"DELETE FROM footnote.{table}")
    stack.rows("UPDATE footnote.tenants SET limits = '{}'")
    stack.rows("INSERT INTO footnote.tenants (id) VALUES ('other') ON CONFLICT DO NOTHING")


def used(http, by="day", **more):
    response = http.get("/usage", params={"by": by, **more})
    assert response.status_code == 200, response.text
    return response.json()["items"]


def spent(stack, scope="tenant", period="day"):
    rows = stack.rows(
        """SELECT tokens, reserved_tokens FROM footnote.spending
            WHERE tenant_id = 'public' AND scope = %s AND period = %s""",
        scope,
        period,
    )
    return rows[0] if rows else (0, 0)


def test_usage_sums_to_what_was_answered_without_any_limit(stack):
    with stack.serve(llm={"prices": PRICES}) as http:
        answers = [http.post("/query", json=ASKED).json() for _ in range(3)]
        answers.append(http.post("/chat", json={"message": ASKED["question"]}).json())
        done = ending(http.events("/query/stream", ASKED)).data
        (day,) = used(http)
        (model,) = used(http, "model")
        (collection,) = used(http, "collection")
    usage = [each["usage"] for each in (*answers, done)]
    assert day["total_tokens"] == sum(each["total_tokens"] for each in usage)
    assert day["prompt_tokens"] == 5 * PROMPT_TOKENS
    assert day["cost_usd"] == pytest.approx(sum(each["cost_usd"] for each in (*answers, done)))
    assert (day["calls"], day["unpriced_calls"], day["estimated_calls"]) == (5, 0, 0)
    assert (model["name"], collection["name"]) == ("m", "default")
    assert {**day, "name": ""} == {**model, "name": ""} == {**collection, "name": ""}
    assert spent(stack)[0] == spent(stack, "subject", "month")[0] == day["total_tokens"]


def test_fifty_parallel_requests_overshoot_a_budget_by_at_most_one_answer(stack):
    with stack.serve(limits={"tenant_tokens_day": 60}) as http, ThreadPoolExecutor(25) as pool:
        got = list(pool.map(lambda _: http.post("/query", json=ASKED), range(50)))
        answered = [each.json()["usage"]["total_tokens"] for each in got if each.status_code == 200]
        refused = [each for each in got if each.status_code != 200]
        assert answered
        assert {(each.status_code, each.json()["type"]) for each in refused} == {(429, "/problems/budget-exhausted")}
        assert all(int(each.headers["retry-after"]) > 0 for each in refused)
        while (last := http.post("/query", json=ASKED)).status_code == 200:
            answered.append(last.json()["usage"]["total_tokens"])
        (day,) = used(http)
    assert sum(answered) == day["total_tokens"] == spent(stack)[0]
    assert 60 <= sum(answered) < 60 + max(answered)
    assert spent(stack)[1] == 0
    assert "is spent; it is renewed at 2" in last.json()["detail"]
    assert 0 < int(last.headers["retry-after"]) <= 86_400
    assert len(stack.model.requests) == len(answered)


def test_an_exhausted_budget_stops_every_call_and_no_retrieval(stack):
    router = {"mode": "router", "question": ASKED["question"]}
    with stack.serve(limits={"subject_usd_month": 0}, llm={"prices": PRICES}) as http:
        for path, body in (
            ("/query", ASKED),
            ("/query", router),
            ("/query", ASKED | {"mode": "fusion"}),
            ("/query", ASKED | {"mode": "sub_question"}),
            ("/chat", {"message": "Hello, who built it?"}),
        ):
            refused = http.post(path, json=body)
            assert refused.status_code == 429, (path, body, refused.text)
            assert refused.json()["type"] == "/problems/budget-exhausted"
        assert "US dollars for a month is spent" in refused.json()["detail"]
        openai = http.post(
            "/v1/chat/completions",
            json={"model": "footnote/default", "messages": [{"role": "user", "content": ASKED["question"]}]},
        )
        assert (openai.status_code, openai.json()["error"]["code"]) == (429, "insufficient_quota")
        last = ending(http.events("/query/stream", ASKED))
        assert (last.name, last.data["type"]) == ("error", "/problems/budget-exhausted")
        assert last.data["retry_after"] > 0
        assert http.post("/retrieve", json={"question": ASKED["question"]}).status_code == 200
    assert stack.model.requests == []


def test_extractive_answers_cost_nothing_and_go_on(stack):
    with stack.serve(limits={"tenant_tokens_day": 0}, llm={"provider": "extractive"}) as http:
        answer = http.post("/query", json=ASKED).json()
        assert answer["finish_reason"] == "extractive"
        assert used(http) == []


def test_a_reranker_that_is_a_model_is_paid_for_too(stack):
    stack.fresh(Reply(text="[1]"), default=Reply(text=ANSWER))
    with stack.serve(rerank={"provider": "llm"}, limits={"tenant_tokens_day": 100_000}) as http:
        stack.rows("DELETE FROM footnote.usage")  # of its warming up
        stack.model.requests.clear()
        assert http.post("/query", json=ASKED | {"rerank": True}).status_code == 200
        (day,) = used(http)
    assert day["calls"] == len(stack.model.requests) == 2


def test_a_stream_that_is_cut_is_settled_for_what_it_wrote(stack):
    gate = threading.Event()
    stack.fresh(default=Reply(text="word " * 50, gate=gate))
    with stack.serve(limits={"tenant_tokens_day": 100_000}, streams={"grace": 0}) as http:
        with http.stream("POST", "/query/stream", json=ASKED) as response:
            pieces = response.iter_text()  # the connection is closed with it
            assert any("event: token" in piece for piece in pieces)
            assert spent(stack)[1] > 40
        until(lambda: stack.rows("SELECT count(*) FROM footnote.reservations") == [(0,)])
        gate.set()
        (day,) = used(http)
    assert (day["calls"], day["estimated_calls"]) == (1, 1)
    assert day["prompt_tokens"] > 20
    assert 0 < day["completion_tokens"] < 20
    assert spent(stack) == (day["total_tokens"], 0)


@pytest.mark.parametrize(
    ("fault", "is_counted"),
    [("unauthorized", False), ("server-error", False), ("close", False), ("cut", True), ("no-finish", True)],
)
def test_a_call_that_fails_is_settled_for_what_came_of_it(stack, fault, is_counted):
    stack.fresh(default=Reply(fault=fault))
    with stack.serve(limits={"key_tokens_day": 1000, "tenant_tokens_day": 100_000}) as http:
        assert http.post("/query/stream", json=ASKED).status_code == 200
        until(lambda: stack.rows("SELECT count(*) FROM footnote.reservations") == [(0,)])
        items = used(http)
    assert [each["estimated_calls"] for each in items] == [1] * is_counted
    assert spent(stack)[1] == 0


def test_a_provider_that_tells_no_tokens_is_estimated(stack):
    stack.fresh(default=Reply(text=ANSWER, usage=False))
    with stack.serve() as http:
        assert http.post("/query", json=ASKED).json()["usage"] is None
        (day,) = used(http)
    assert (day["calls"], day["estimated_calls"]) == (1, 1)
    assert day["completion_tokens"] >= 5


def test_the_reservation_of_a_server_that_is_killed_expires(stack):
    stack.fresh(default=Reply(fault="hang-between"))
    limits = {"LIMITS__TENANT_TOKENS_DAY": "50"}
    with stack.process(**limits) as process:
        asking = threading.Thread(target=_ask, args=(process.url,), daemon=True)
        asking.start()
        until(lambda: stack.rows("SELECT count(*) FROM footnote.reservations") == [(1,)])
        os.kill(process.popen.pid, signal.SIGKILL)
        process.popen.wait(30)
        asking.join(30)
    stack.fresh(default=Reply(text=ANSWER))
    with stack.serve(limits={"tenant_tokens_day": 50}) as http:
        refused = http.post("/query", json=ASKED)
        assert refused.status_code == 429
        assert "reserved" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) <= 5
        stack.rows("UPDATE footnote.reservations SET expires_at = clock_timestamp() - interval '1 second'")
        assert http.post("/query", json=ASKED).status_code == 200
    assert spent(stack)[1] == 0


def _ask(url):
    try:
        httpx.post(f"{url}/query/stream", json=ASKED, timeout=60)
    except httpx.HTTPError:
        return


def test_subjects_see_their_own_usage_and_those_who_see_all_the_tenant_s(stack):
    names = ("ada", "o'neil %_", "日本" * 200)
    with stack.serve(around=AsNamed, limits={"subject_tokens_day": 10}) as http:
        for name in names:
            who = {"x-subject": name.encode("latin-1", "ignore").decode("latin-1") or "odd"}
            assert http.post("/query", json=ASKED, headers=who).status_code == 200
            assert http.post("/query", json=ASKED, headers=who).status_code == 429  # its own budget is spent
        own = http.get("/usage", headers={"x-subject": "ada"}).json()["items"]
        everybody = used(http, "subject")
        other = http.get("/usage", headers={"x-tenant": "other"}).json()["items"]
    assert [each["calls"] for each in own] == [1]
    assert [each["calls"] for each in everybody] == [1, 1, 1]
    assert other == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-02-30"},
        {"from": "2026-03-01", "to": "2026-02-01"},
        {"by": "key"},
        {"cursor": "%%%"},
        {"limit": 0},
        {"form": "2026-01-01"},
        {"from": "10000-01-01"},
    ],
)
def test_a_query_that_means_nothing_is_a_422(stack, query):
    with stack.serve() as http:
        assert http.get("/usage", params=query).status_code == 422


def test_periods_of_a_month_s_end_and_of_other_times_are_empty(stack):
    with stack.serve() as http:
        assert used(http, **{"from": "2024-02-29", "to": "2024-02-29"}) == []
        assert used(http, to="0001-01-01") == []
        assert used(http, **{"from": "9999-12-31"}) == []
