"""A key of some collections is told of nothing that was used, asked or rated in others, and changes nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from support.model_server import Reply
from support.stack import SERVERS, Stack, StackClient, until

BOOTSTRAP = "b" * 40
QUESTION = {"question": "When is the lamp lit?", "k": 2}
CHAT = {"message": "When is the lamp lit?", "k": 2}
TRACE = "4bf92f3577b34da6a3ce929d0e0e47{:02x}"


@contextmanager
def serving(stack: Stack, way: str = "serve", **groups: Any) -> Iterator[StackClient]:
    auth = {"mode": "required", "bootstrap_key": BOOTSTRAP, "failed_logins": 100_000}
    with getattr(stack, way)(auth=auth, **groups) as http:
        http.headers.update({"Authorization": f"Bearer {BOOTSTRAP}"})
        yield http


@pytest.fixture(autouse=True)
def _empty(stack: Stack) -> None:
    for table in ("evidence", "feedback", "conversations", "usage"):
        stack.rows(f"DELETE FROM footnote.{table}")
    stack.fresh(default=Reply(text="The lamp is lit at dusk [1]."))


def make(http: httpx.Client, subject: str = "ada", **members: Any) -> dict[str, str]:
    body = {"name": "test", "scopes": ["query", "feedback"], "subject": subject, **members}
    return {"Authorization": f"Bearer {http.post('/keys', json=body).raise_for_status().json()['key']}"}


def began(trace: int) -> dict[str, str]:
    """Return the headers of a request in a trace that its client has begun."""
    return {"traceparent": f"00-{TRACE.format(trace)}-00f067aa0ba902b7-01"}


def usage(http: httpx.Client, by: str, headers: dict[str, str]) -> list[tuple[str, int]]:
    found = http.get("/usage", params={"by": by}, headers=headers).raise_for_status().json()["items"]
    return [(each["name"], each["calls"]) for each in found]


def test_usage_is_that_of_the_key_s_collections_whatever_it_is_by(stack: Stack) -> None:
    with serving(stack) as http:
        wide, own = make(http), make(http, collections=["default", "x"])
        narrow, boss = make(http, collections=["other"]), make(http, scopes=["admin"], collections=["other"])
        http.post("/query", json=QUESTION, headers=wide).raise_for_status()
        for by in ("day", "model", "collection", "subject"):
            assert [calls for _, calls in usage(http, by, wide)] == [1], by
            assert usage(http, by, own) == usage(http, by, wide)
            assert usage(http, by, narrow) == usage(http, by, boss) == [], by


@pytest.mark.parametrize("way", SERVERS)
@pytest.mark.parametrize("recorded", ["on", "off"])
def test_ratings_of_other_collections_answers_are_neither_given_nor_deleted(
    stack: Stack, way: str, recorded: str
) -> None:
    with serving(stack, way, evidence={"record": recorded}) as http:
        wide, narrow = make(http), make(http, collections=["other"])
        chat = http.post("/chat", json=CHAT, headers=wide | began(3)).raise_for_status().json()
        rating = {"trace_id": chat["trace_id"], "rating": "up"}
        for body in (rating, rating | {"collection": "other"}):
            refused = http.post("/feedback", json=body, headers=narrow)
            assert (refused.status_code, refused.json()["type"]) == (404, "/problems/feedback-not-found")
            assert "default" not in refused.text
        kept = http.post("/feedback", json=rating, headers=wide).raise_for_status().json()
        named = rating | {"trace_id": TRACE.format(1), "collection": "default"}
        told = http.post("/feedback", json=named, headers=wide).raise_for_status().json()
        assert http.post("/feedback", json=named | {"collection": None}, headers=narrow).status_code == 404
        for each in (kept, told):
            assert http.delete(f"/feedback/{each['id']}", headers=narrow).status_code == 404
        assert {each["id"] for each in http.get("/feedback", headers=wide).json()["items"]} == {kept["id"], told["id"]}
        for each in (kept, told):
            assert http.delete(f"/feedback/{each['id']}", headers=wide).status_code == 204


def test_a_query_s_answer_is_known_by_the_record(stack: Stack) -> None:
    with serving(stack) as http:
        wide, narrow = make(http), make(http, collections=["other"])
        own = make(http, collections=["default"])
        trace = http.post("/query", json=QUESTION, headers=wide | began(4)).raise_for_status().json()["trace_id"]
        rating = {"trace_id": trace, "rating": "down"}
        assert http.post("/feedback", json=rating, headers=narrow).status_code == 404
        assert http.post("/feedback", json=rating, headers=own).status_code == 201


@pytest.mark.parametrize("way", SERVERS)
def test_what_one_says_of_another_s_trace_is_not_about_his_answer(stack: Stack, way: str) -> None:
    with serving(stack, way) as http:
        ada, bob = make(http), make(http, "bob")
        mine = http.post("/chat", json=CHAT, headers=ada | began(2)).raise_for_status().json()
        assert mine["trace_id"] == TRACE.format(2)
        document = mine["citations"][0]["document_id"]
        http.post("/feedback", json={"trace_id": mine["trace_id"], "rating": "down"}, headers=bob).raise_for_status()

        def ratings() -> dict[str, Any]:
            rows = http.get(f"/documents/{document}/answers").raise_for_status().json()["items"]
            return {row["subject"]: row["feedback"] and row["feedback"]["rating"] for row in rows}

        assert until(ratings) == {"ada": None}
        (of_bob,) = http.get("/feedback", headers=bob).json()["items"]
        assert (of_bob["question"], of_bob["answer"], of_bob["answer_id"]) == (None, None, None)
        (seen,) = http.get("/feedback").json()["items"]  # by an administrator, who sees both
        assert (seen["question"], seen["document_ids"], seen["conversation_id"]) == (None, None, None)

        http.post("/feedback", json={"trace_id": mine["trace_id"], "rating": "up"}, headers=ada).raise_for_status()
        other = CHAT | {"message": "Who lights the lamp at night?"}
        his = http.post("/chat", json=other, headers=bob | began(2)).raise_for_status().json()
        assert his["trace_id"] == mine["trace_id"]
        until(lambda: ratings() == {"ada": "up", "bob": "down"})
        told = {each["rating"]: each["question"] for each in http.get("/feedback").json()["items"]}
        assert told == {"up": CHAT["message"], "down": other["message"]}

        http.delete(f"/conversations/{his['conversation_id']}", headers=bob).raise_for_status()
        assert [each["rating"] for each in http.get("/feedback").json()["items"]] == ["up"]
