"""Limits of an API key's own, on real servers with real keys: made, changed and enforced on every worker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.programs import run
from support.stack import SERVERS, Stack, StackClient, until

BOOTSTRAP = "b" * 40
QUESTION = {"question": "When is the lamp lit?", "k": 2}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def serving(stack: Stack, way: str = "serve", **groups: Any) -> Iterator[StackClient]:
    auth = {"mode": "required", "bootstrap_key": BOOTSTRAP, "failed_logins": 100_000}
    with getattr(stack, way)(auth=auth, **groups) as http:
        http.headers.update(bearer(BOOTSTRAP))
        yield http


def create(http: httpx.Client, *scopes: str, headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
    body = {"name": "test", "scopes": list(scopes or ("query",)), **members}
    return http.post("/keys", json=body, headers=headers)


def make(http: httpx.Client, *scopes: str, **members: Any) -> dict[str, str]:
    return bearer(create(http, *scopes, **members).raise_for_status().json()["key"])


def id_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].split("_")[1]


def command(stack: Stack, *arguments: str) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    env = {**clean, "FOOTNOTE_DATABASE__URL": stack.dsn, "FOOTNOTE_DATA_DIR": str(stack.data_dir)}
    return run(["-m", "server", "keys", *arguments], env=env)


@pytest.mark.parametrize("way", SERVERS)
def test_a_key_s_rate_is_its_own_and_a_change_holds_on_every_worker_within_a_second(stack: Stack, way: str) -> None:
    with serving(stack, way, limits={"key_requests": 1000}) as http:
        tight = make(http, limits={"key_requests": 5})
        free = make(http)
        asked = [http.get("/me", headers=tight) for _ in range(12)]
        assert [answer.status_code for answer in asked].count(200) == 5
        assert asked[0].json()["limits"]["requests_a_minute"] == {"key": 5}
        refused = asked[-1]
        assert refused.json()["type"] == "/problems/rate-limited"
        assert refused.headers["ratelimit-policy"] == '"key";q=5;w=60'
        assert http.get("/me", headers=free).json()["limits"]["requests_a_minute"] == {"key": 1000}

        changed = http.put(f"/keys/{id_of(tight)}/limits", json={"limits": {"key_requests": 100_000}})
        assert changed.raise_for_status().json()["limits"] == {"key_requests": 100_000}
        until(lambda: {http.get("/me", headers=tight).status_code for _ in range(24)} == {200})
        told = command(stack, "limits", f"fn_{id_of(tight)}", "--set", "key_requests=none", "--set", "key_streams=3")
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout) == {"key_requests": None, "key_streams": 3}

        def limits() -> Any:
            told = http.get("/me", headers=tight).json()["limits"]
            return told["requests_a_minute"], told["quotas"]

        until(lambda: all(limits() == ({}, {"key_streams": 3}) for _ in range(12)))
        listed = http.get("/keys", params={"limit": 1000}).json()["items"]
        of_key = {key["id"]: key["limits"] for key in listed}
        assert of_key[id_of(tight)] == {"key_requests": None, "key_streams": 3}
        assert of_key[id_of(free)] == {}
        assert f"{id_of(tight)}  active" in command(stack, "list").stdout
        assert "key_requests=none, key_streams=3" in command(stack, "list").stdout
        done = command(stack, "limits", id_of(tight), "--unset", "key_requests", "--unset", "key_streams", "--json")
        assert json.loads(done.stdout)["limits"] == {}
        until(lambda: http.get("/me", headers=tight).json()["limits"]["requests_a_minute"] == {"key": 1000})


@pytest.mark.parametrize("way", SERVERS)
def test_a_key_s_budget_ends_its_answers_and_no_other_key_s(stack: Stack, way: str) -> None:
    stack.fresh(default=Reply("The lamp is lit at dusk [1]."))
    with serving(stack, way) as http:
        poor, other = make(http, limits={"key_tokens_day": 40}), make(http)
        assert http.post("/query", json=QUESTION, headers=poor).status_code == 200
        spent = until(lambda: (a := http.post("/query", json=QUESTION, headers=poor)).status_code == 429 and a)
        assert spent.json()["type"] == "/problems/budget-exhausted"
        assert "the key's budget" in spent.json()["detail"]
        assert http.post("/query", json=QUESTION, headers=other).status_code == 200
        (budget,) = http.get("/me", headers=poor).json()["limits"]["budgets"]
        assert (budget["scope"], budget["tokens"], budget["spent_tokens"]) == ("key", 40, 54)
        http.put(f"/keys/{id_of(poor)}/limits", json={"limits": {}}).raise_for_status()
        until(lambda: {http.post("/query", json=QUESTION, headers=poor).status_code for _ in range(6)} == {200})


@pytest.mark.parametrize("way", SERVERS)
def test_a_key_has_so_many_streams_at_a_time_whatever_its_subject_may(stack: Stack, way: str) -> None:
    stack.fresh(default=Reply("one two three four five six seven eight [1].", delay=0.5))
    stack.rows("DELETE FROM footnote.open_streams")
    with serving(stack, way, streams={"grace": 0}) as http, ExitStack() as held:
        reading: list[Iterator[bytes]] = []
        key = make(http, subject="ada", limits={"key_streams": 2})
        sibling = make(http, subject="ada", limits={"key_streams": 1})
        for headers in (key, key, sibling):
            stream = held.enter_context(http.stream("POST", "/query/stream", json=QUESTION, headers=headers))
            assert stream.status_code == 200
            reading.append(stream.iter_raw())  # the connection is closed with it
            next(reading[-1])
        for headers, most in ((key, 2), (sibling, 1)):
            refused = http.post("/query/stream", json=QUESTION, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (429, "/problems/rate-limited")
            assert f"the key has at most {most} streams" in refused.json()["detail"]
        held.close()
        until(lambda: stack.rows("SELECT count(*) FROM footnote.open_streams") == [(0,)])
        again = http.post("/query/stream", json=QUESTION, headers=sibling)
        assert ending(parse(again.text)).name == "done"


def test_nobody_gives_a_key_more_than_he_has(stack: Stack) -> None:
    with serving(stack, limits={"key_requests": 500}) as http:
        plain = make(http, "keys", "query", subject="ada", limits={"key_requests": 100})
        admin = make(http, "admin", subject="root", limits={"key_tokens_day": 1000})
        free_admin = make(http, "admin", subject="root")
        for limits in ({}, {"key_requests": 7}):  # many of them would have more together
            assert create(http, "query", headers=plain, limits=limits).status_code == 403
        inherited = create(http, "query", headers=admin).json()
        assert inherited["limits"] == {"key_tokens_day": 1000}
        assert create(http, "query", headers=admin, limits={"key_requests": 9000}).status_code == 201
        assert create(http, "query", headers=free_admin, limits={"key_requests": None}).status_code == 201
        more: list[tuple[dict[str, str], dict[str, Any]]] = [
            (plain, {"key_requests": 101}),
            (plain, {"key_requests": None}),
            (admin, {"key_tokens_day": None}),
            (admin, {"key_tokens_day": 1001}),
        ]
        for by, limits in more:
            refused = create(http, "query", headers=by, limits=limits)
            assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden"), limits
            own = http.put(f"/keys/{id_of(by)}/limits", json={"limits": limits}, headers=by)
            assert own.status_code == 403
        assert http.put(f"/keys/{id_of(plain)}/limits", json={"limits": {}}, headers=plain).status_code == 403
        stronger = make(http, "query", subject="ada", limits={"key_requests": 200})
        assert http.post(f"/keys/{id_of(stronger)}/rotate", json={}, headers=plain).status_code == 403
        assert http.put(f"/keys/{id_of(free_admin)}/limits", json={"limits": {}}, headers=plain).status_code == 404
        http.delete(f"/keys/{id_of(stronger)}").raise_for_status()
        assert http.put(f"/keys/{id_of(stronger)}/limits", json={"limits": {}}).status_code == 404


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"key_requests": -1}, "limits.key_requests"),
        ({"key_requests": 0}, "limits.key_requests"),
        ({"key_requests": 600_001}, "limits.key_requests"),
        ({"key_requests": "5"}, "limits.key_requests"),
        ({"key_requests": True}, "limits.key_requests"),
        ({"key_requests": 5.5}, "limits.key_requests"),
        ({"key_requests": [5]}, "limits.key_requests"),
        ({"key_tokens_day": 10**30}, "limits.key_tokens_day"),
        ({"key_usd_day": -0.01}, "limits.key_usd_day"),
        ({"key_usd_day": 1e300}, "limits.key_usd_day"),
        ({"tenant_requests": 5}, "limits.tenant_requests"),
        ({"subject_streams": 5}, "limits.subject_streams"),
        ({"nothing": 5}, "limits.nothing"),
        ([], "limits"),
        ("key_requests=5", "limits"),
    ],
)
def test_what_is_no_limit_of_a_key_is_refused_with_its_name(http: Any, limits: Any, field: str) -> None:
    for answer in (create(http, limits=limits), http.put(f"/keys/{'a' * 12}/limits", json={"limits": limits})):
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == field


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[StackClient]:
    with serving(stack) as served:
        yield served


def test_a_number_of_five_thousand_digits_and_one_that_is_none_are_refused(http: StackClient) -> None:
    for number in ("9" * 5000, "NaN", "Infinity", "1e999"):
        body = f'{{"name": "x", "scopes": ["query"], "limits": {{"key_usd_day": {number}}}}}'
        answer = http.post("/keys", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, (number[:9], answer.text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "--name", "x", "--scopes", "query", "--limits", "key_requests=-3"), "--limits: key_requests"),
        (("create", "--name", "x", "--scopes", "query", "--limits", "tenant_requests=3"), "tenant_requests"),
        (("create", "--name", "x", "--scopes", "query", "--limits", "key_requests"), "a limit is a number"),
        (("limits", "nobody"), "no key"),
        (("limits", "KEY", "--set", "key_requests=many"), "a limit is a number"),
        (("limits", "KEY", "--set", "key_requests=-1"), "key_requests"),
        (("limits", "KEY", "--set", "=1"), "no such limit"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(
    stack: Stack, http: StackClient, arguments: tuple[str, ...], told: str
) -> None:
    key = id_of(make(http, limits={"key_requests": 4}))
    done = command(stack, *(key if part == "KEY" else part for part in arguments))
    assert done.returncode == 2
    assert told in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert json.loads(command(stack, "limits", key).stdout) == {"key_requests": 4}


def test_stored_limits_that_are_none_hold_for_nobody_and_break_nothing(stack: Stack, http: StackClient) -> None:
    key = make(http, limits={"key_requests": 4})
    spoilt = json.dumps({"key_requests": "many", "tenant_requests": 1, "x": None})
    stack.rows("UPDATE footnote.api_keys SET limits = %s WHERE id = %s RETURNING true", spoilt, id_of(key))
    until(lambda: http.get("/me", headers=key).json()["limits"]["requests_a_minute"] == {})
    assert {http.get("/me", headers=key).status_code for _ in range(8)} == {200}
    assert http.get("/keys", params={"limit": 1000}).status_code == 200
    done = command(stack, "limits", id_of(key), "--set", "key_requests=9")
    assert json.loads(done.stdout) == {"key_requests": 9}, done.stderr
