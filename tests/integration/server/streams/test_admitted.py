"""A stream whose key is revoked, or whose tenant is suspended, ends with an error that says so; others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from support.events import parse
from support.model_server import Reply
from support.stack import SERVERS, Stack, StackClient, until

BOOTSTRAP = "b" * 40
QUESTION = {"question": "When is the lamp lit?", "k": 2}
SLOW = " ".join(f"word{number}" for number in range(400)) + " [1]."


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def serving(stack: Stack, way: str = "serve", **groups: Any) -> Iterator[StackClient]:
    auth = {"mode": "required", "bootstrap_key": BOOTSTRAP, "failed_logins": 100_000}
    with getattr(stack, way)(auth=auth, **groups) as http:
        http.headers.update(bearer(BOOTSTRAP))
        yield http


def make(http: httpx.Client, *scopes: str, **members: Any) -> dict[str, str]:
    body = {"name": "test", "scopes": list(scopes), **members}
    return bearer(http.post("/keys", json=body).raise_for_status().json()["key"])


class Held:
    """A stream that is being read."""

    def __init__(self, stack: ExitStack, http: httpx.Client, path: str, body: Any, headers: dict[str, str]) -> None:
        self.response = stack.enter_context(http.stream("POST", path, json=body, headers=headers))
        assert self.response.status_code == 200
        self._pieces = self.response.iter_text()
        self.text = next(self._pieces)

    def rest(self) -> str:
        """Read it to its end."""
        self.text += "".join(self._pieces)
        return self.text


@pytest.mark.parametrize("way", SERVERS)
def test_the_streams_of_a_revoked_key_end_with_an_error_and_no_other_s(stack: Stack, way: str) -> None:
    stack.fresh(default=Reply(SLOW, delay=0.1))
    completion = {
        "model": "footnote/default",
        "messages": [{"role": "user", "content": QUESTION["question"]}],
        "stream": True,
    }
    with serving(stack, way) as http, ExitStack() as held:
        lost, kept = make(http, "query"), make(http, "query")
        asked = [
            ("/query/stream", QUESTION),
            ("/query/stream", QUESTION),
            ("/chat/stream", {"message": QUESTION["question"], "k": 2}),
            ("/v1/chat/completions", completion),
        ]
        streams = [Held(held, http, path, body, lost) for path, body in asked]
        other = Held(held, http, "/query/stream", QUESTION, kept)
        http.delete(f"/keys/{lost['Authorization'].split('_')[1]}").raise_for_status()
        for stream in streams[:3]:
            events = parse(stream.rest())
            error = next(event for event in events if event.name == "error")
            assert (error.data["type"], error.data["status"]) == ("/problems/unauthenticated", 401)
            assert error.data["detail"] == "the key was revoked"
            assert error.data["retryable"] is False
            assert events[-1].data == "[DONE]"
            assert not any(event.name == "done" for event in events)
        assert "the key was revoked" in streams[3].rest()
        assert "word399" not in streams[3].text
        assert http.get(f"/streams/{streams[0].response.headers['X-Stream-ID']}", headers=lost).status_code == 401
        assert "error" not in other.text
        chat = http.get("/conversations").json()["items"][0]["id"]
        assert http.get(f"/conversations/{chat}").json()["messages"][-1]["state"] == "failed"


@pytest.mark.parametrize("way", SERVERS)
def test_the_streams_of_a_suspended_tenant_end_and_come_back_with_it(stack: Stack, way: str) -> None:
    stack.fresh(default=Reply(SLOW, delay=0.1))
    with serving(stack, way) as http, ExitStack() as held:
        ada = make(http, "query", "documents:read", "documents:write", subject="ada")
        waiting = http.post("/documents", files={"file": ("a.md", b"Brass.")}, headers=ada).raise_for_status().json()
        stream = Held(held, http, "/query/stream", QUESTION, ada)
        watched = held.enter_context(http.stream("GET", f"/jobs/{waiting['job_id']}/events", headers=ada))
        told = watched.iter_text()
        first = next(told)
        stack.rows("UPDATE footnote.tenants SET status = 'suspended' WHERE id = 'public' RETURNING true")
        try:
            events = parse(stream.rest())
            followed = parse(first + "".join(told))
        finally:
            stack.rows("UPDATE footnote.tenants SET status = 'active' WHERE id = 'public' RETURNING true")
        for ended in (events, followed):
            error = next(event for event in ended if event.name == "error")
            assert (error.data["type"], error.data["status"]) == ("/problems/forbidden", 403)
            assert error.data["detail"] == "the tenant is suspended"
        stack.fresh(default=Reply("The lamp is lit at dusk [1]."))
        until(lambda: http.post("/query", json=QUESTION, headers=ada).status_code == 200)


@pytest.mark.parametrize("way", SERVERS)
def test_whoever_reads_another_key_s_stream_of_his_own_is_cut_alone(stack: Stack, way: str) -> None:
    stack.fresh(default=Reply(SLOW, delay=0.1))
    with serving(stack, way) as http, ExitStack() as held:
        first, second = make(http, "query", subject="ada"), make(http, "query", subject="ada")
        stream = Held(held, http, "/query/stream", QUESTION, first)
        where = f"/streams/{stream.response.headers['X-Stream-ID']}"
        resumed = [held.enter_context(http.stream("GET", where, headers=second)) for _ in range(4)]
        assert {each.status_code for each in resumed} == {200}
        pieces = [each.iter_text() for each in resumed]
        begun = [next(each) for each in pieces]
        http.delete(f"/keys/{second['Authorization'].split('_')[1]}").raise_for_status()
        for text, rest in zip(begun, pieces, strict=True):
            events = parse(text + "".join(rest))
            assert [event.data["type"] for event in events if event.name == "error"] == ["/problems/unauthenticated"]
            assert events[-1].data == "[DONE]"
        again = held.enter_context(http.stream("GET", where, headers=first))
        assert next(again.iter_text())
        assert "error" not in stream.text
