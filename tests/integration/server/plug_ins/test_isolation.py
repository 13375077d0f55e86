"""Plug-ins run as whoever asks: in their threads, with Footnote's store, with what they kept of others' answers."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest
from support.databases import in_database
from support.indexed import TEXTS, index
from support.model_server import Reply
from support.plug_ins import BAD, installed
from support.sql import execute

from server.api.middleware import authentication
from server.principal import SCOPES, Principal
from storage.caller import Caller, acting_as

OTHERS = "The treasure of the other tenant lies under the mill of Karlov."
OURS, THEIRS = "lighthouse.md", "treasure.md"
ELSEWHERE = Caller("other", "ada", sees_all=True)
IDS = [hashlib.sha256(name.encode()).hexdigest() for name in (OURS, THEIRS)]


@pytest.fixture(scope="module")
def peeking(stack):
    execute(stack.dsn, "INSERT INTO footnote.tenants (id) VALUES ('other') ON CONFLICT DO NOTHING")

    async def fill(database):
        with acting_as(ELSEWHERE):
            await index(database, stack.embedder, {THEIRS: OTHERS})

    in_database(stack.dsn, fill)
    stack.fresh(default=Reply(text="So it is [1]."))
    with installed(BAD):
        peeks = {"peek": {"class": "footnote_bad.retrievers.peeking", "arguments": {"ids": IDS}}}
        with stack.serve(plug_ins={"engines": peeks}, retrieval={"min_score": 0}) as http:
            yield http


@pytest.fixture
def acting(monkeypatch):
    @contextlib.contextmanager
    def act(who):
        with monkeypatch.context() as patched:
            patched.setattr(authentication, "EVERYBODY", Principal(who, frozenset(SCOPES)))
            yield

    return act


@pytest.mark.parametrize("path", ["/retrieve", "/query", "/chat"])
def test_a_plug_in_reads_in_its_threads_what_the_caller_may_read(peeking, acting, path):
    asked = {"message" if path == "/chat" else "question": "Where is it?", "mode": "peek"}

    def texts():
        found = peeking.post(path, json=asked).raise_for_status().json()
        return [each["text"] for each in found["results" if path == "/retrieve" else "citations"]]

    with acting(ELSEWHERE):
        assert set(texts()) == {OTHERS}
    # by now the plug-in has kept the other tenant's passage, and returns it to everybody
    found = peeking.post(path, json=asked).raise_for_status()
    assert OTHERS not in json.dumps(found.json(), ensure_ascii=False)
    assert set(texts()) == {TEXTS[OURS]}
    assert "left out" in json.dumps(found.json()["engine"]["notes"])
