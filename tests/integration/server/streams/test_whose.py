"""Who may take a stream up again: whoever asked, while he sees what he saw then, and not a later tenant of the name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from support.model_server import Reply
from support.programs import run
from support.redis_server import start_redis
from support.stack import SERVERS, Stack, StackClient

BOOTSTRAP = "b" * 40
AUTH = {"mode": "required", "bootstrap_key": BOOTSTRAP, "failed_logins": 100_000}
QUESTION = {"question": "When is the lamp lit?", "k": 2}
LOOKS = 6
"""So often a stream is looked for, as several workers may take a request."""


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def serving(stack: Stack, way: str = "serve", **groups: Any) -> Iterator[StackClient]:
    with getattr(stack, way)(auth=AUTH, **groups) as http:
        http.headers.update(bearer(BOOTSTRAP))
        yield http


@pytest.fixture(autouse=True)
def _lit_at_dusk(stack: Stack) -> None:
    stack.fresh(default=Reply(text="The lamp is lit at dusk [1]."))


def make(http: httpx.Client, **members: Any) -> dict[str, str]:
    body = {"name": "test", "scopes": ["query"], "subject": "ada", **members}
    return bearer(http.post("/keys", json=body).raise_for_status().json()["key"])


def asked(http: httpx.Client, headers: dict[str, str]) -> str:
    answer = http.post("/query/stream", json=QUESTION, headers=headers).raise_for_status()
    assert "done" in answer.text
    return f"/streams/{answer.headers['X-Stream-ID']}"


def statuses(http: httpx.Client, stream: str, headers: dict[str, str]) -> set[int]:
    return {http.get(stream, headers=headers).status_code for _ in range(LOOKS)}


def check_who_reads(make_key: Callable[..., dict[str, str]], asks: httpx.Client, reads: httpx.Client) -> None:
    asker = make_key(groups=["eng", "hr"], collections=["default", "other"])
    stream = asked(asks, asker)
    alike = make_key(groups=["hr", "eng"], collections=["other", "default"])
    assert statuses(reads, stream, asker) == statuses(reads, stream, alike) == {200}
    for less in (
        {"groups": ["eng", "hr"], "collections": ["other"]},
        {"groups": ["eng"], "collections": ["default", "other"]},
        {"collections": ["default", "other"]},
        {"groups": ["eng", "hr"], "collections": ["default", "other"], "subject": "bob"},
    ):
        found = [reads.get(stream, headers=make_key(**less)) for _ in range(LOOKS)]
        assert {(each.status_code, each.json()["type"]) for each in found} == {(404, "/problems/stream-not-found")}, (
            less
        )
        assert "dusk" not in found[0].text


@pytest.mark.parametrize("way", SERVERS)
def test_a_key_that_sees_less_does_not_find_the_stream(stack: Stack, way: str) -> None:
    with serving(stack, way) as http:
        check_who_reads(lambda **members: make(http, **members), http, http)
        admin = make(http, scopes=["query", "admin"])
        assert statuses(http, asked(http, admin), make(http)) == {404}


def test_nor_on_another_replica(stack: Stack) -> None:
    with start_redis() as redis, ExitStack() as both:
        one, two = (both.enter_context(serving(stack, redis={"url": redis.url})) for _ in range(2))
        check_who_reads(lambda **members: make(one, **members), one, two)


def test_an_idempotency_key_gives_no_answer_to_who_sees_less(stack: Stack) -> None:
    with serving(stack) as http:
        wide, narrow = make(http, groups=["eng"]), make(http, groups=["eng"], collections=["other"])
        again = {"Idempotency-Key": "once"}
        http.post("/query", json=QUESTION, headers=wide | again).raise_for_status()
        for path in ("/query", "/query/stream"):
            refused = http.post(path, json=QUESTION, headers=narrow | again)
            assert refused.status_code == 422
            assert "dusk" not in refused.text


def tenants(stack: Stack, *arguments: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    env = {**clean, "FOOTNOTE_DATABASE__URL": stack.dsn, "FOOTNOTE_DATA_DIR": str(stack.data_dir)}
    done = run(["-m", "server", "tenants", *arguments], env=env)
    assert done.returncode == 0, done.stderr


def made_anew(stack: Stack) -> None:
    """Let the tenant be another one within a moment, so that no server has noticed."""
    stack.rows("DELETE FROM footnote.api_keys WHERE tenant_id = 'acme'")
    stack.rows("UPDATE footnote.tenants SET created_at = clock_timestamp() WHERE id = 'acme'")


def make_there(http: httpx.Client) -> dict[str, str]:
    """Return a key of the tenant, which has a collection."""
    key = make(http, tenant="acme", scopes=["query", "collections:write"])
    http.post("/collections", json={"name": "default"}, headers=key)
    return key


@pytest.mark.parametrize("way", SERVERS)
def test_a_later_tenant_of_the_name_finds_none_of_the_earlier_ones(stack: Stack, way: str) -> None:
    tenants(stack, "create", "acme")
    with start_redis() as redis, serving(stack, way, redis={"url": redis.url}) as http:
        first = make_there(http)
        stream = asked(http, first)
        assert statuses(http, stream, first) == {200}
        tenants(stack, "delete", "acme")
        tenants(stack, "create", "acme")
        second = make_there(http)
        assert statuses(http, stream, first) == {401}
        assert statuses(http, stream, second) == {404}
        later = asked(http, second)
        assert statuses(http, later, second) == {200}
        made_anew(stack)
        third = make_there(http)
        assert statuses(http, later, third) == {404}
        assert statuses(http, asked(http, third), third) == {200}
    tenants(stack, "delete", "acme")
