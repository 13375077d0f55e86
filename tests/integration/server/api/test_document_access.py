"""Readers of documents over HTTP, as people of a tenant with different groups and one of another tenant.

Who asks is set where a gate would set it: there is no authentication in these tests.
"""

import contextlib

import pytest
from support.sql import execute

from server.api.middleware import authentication
from server.principal import SCOPES, Principal
from storage.caller import LOCAL, Caller

ADA = Caller("public", "ada", ("eng",))
BOB = Caller("public", "bob", ("hr",))
ELSEWHERE = Caller("other", "ada", ("eng",), sees_all=True)
QUESTION = {"question": "When is sourdough bread baked?", "k": 20}


@pytest.fixture(scope="module")
def http(stack):
    execute(stack.dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")
    with stack.serve(llm={"provider": "extractive"}, cache={"answers": True}) as opened:
        yield opened


@pytest.fixture
def acting(monkeypatch):
    """Let requests act for somebody: ``with acting(ADA): ...``."""

    @contextlib.contextmanager
    def act(who):
        with monkeypatch.context() as patched:
            patched.setattr(authentication, "EVERYBODY", Principal(who, frozenset(SCOPES)))
            yield

    return act


@pytest.fixture
def hidden(http):
    """Return a document that answers the question, and that only Bob's group may read; others read the rest."""
    found = http.post("/retrieve", json=QUESTION).json()["results"]
    document = found[0]["document_id"]
    assert http.put(f"/documents/{document}/readers", json={"readers": ["group:hr"]}).json() == {
        "document_id": document,
        "readers": ["group:hr"],
    }
    yield document
    http.put(f"/documents/{document}/readers", json={"readers": ["*"]})


def retrieved(http):
    answer = http.post("/retrieve", json=QUESTION)
    return {each["document_id"] for each in answer.json().get("results", ())}


def called(http, tool, arguments):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    return http.post("/mcp", json=message, headers=headers).text


def test_a_document_that_one_may_not_read_is_not_there_by_any_door(http, hidden, acting):
    whole = retrieved(http)
    with acting(ADA):
        assert retrieved(http) == whole - {hidden} != set()
        for mode in ("vector", "keyword"):
            found = http.post("/retrieve", json={**QUESTION, "mode": mode}).json()["results"]
            assert hidden not in {each["document_id"] for each in found}
        narrowed = http.post("/retrieve", json={**QUESTION, "document_ids": [hidden]})
        assert narrowed.json()["results"] == []
        for engine in ("window", "auto_merging", "summary"):
            assert hidden not in http.post("/query", json={**QUESTION, "mode": engine}).text
        assert hidden not in http.post("/query", json=QUESTION).text
        assert hidden not in http.post("/query/stream", json=QUESTION).text
        assert hidden not in http.post("/chat", json={"message": QUESTION["question"]}).text
        chat = {"model": "footnote/default", "messages": [{"role": "user", "content": QUESTION["question"]}]}
        assert hidden not in http.post("/v1/chat/completions", json=chat).text
        assert hidden not in called(http, "search", {"question": QUESTION["question"]})
        for path in ("", "/text", "/content", "/pages/1.png"):
            assert http.get(f"/documents/{hidden}{path}").status_code == 404, path
        assert http.put(f"/documents/{hidden}/readers", json={"readers": ["*"]}).status_code == 404
        assert http.delete(f"/documents/{hidden}").status_code == 404
        page = {"url": "https://example.org/x.html"}
        assert http.put(f"/documents/{hidden}", json=page).status_code == 404
        assert http.post("/documents", json={**page, "document_id": hidden}).status_code == 404
        explain = {"document_id": hidden, "subject": "bob", "groups": "hr"}
        assert http.get("/access/explain", params=explain).status_code == 404
        listed = http.get("/documents", params={"limit": 100}).json()["items"]
        assert hidden not in {each["id"] for each in listed}
        assert http.get("/collections/default").json()["documents"] == len(listed)
    with acting(BOB):
        assert retrieved(http) == whole
        assert hidden in called(http, "search", {"question": QUESTION["question"]})
        assert hidden in http.post("/query", json=QUESTION).text
        assert http.get(f"/documents/{hidden}").json()["readers"] == ["group:hr"]
    with acting(ELSEWHERE):
        assert http.post("/retrieve", json=QUESTION).status_code == 404
        assert http.get("/collections").json()["items"] == []
        assert http.get(f"/documents/{hidden}").status_code == 404


def test_the_source_of_a_document_that_one_may_not_read_is_taken_and_its_holder_not_named(http, hidden, acting):
    source = http.get(f"/documents/{hidden}").json()["source"]
    with acting(ADA):
        refused = http.post("/documents", files={"file": ("x.txt", b"mine")}, data={"source": source})
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/already-exists")
        assert hidden not in refused.text


def test_a_cached_answer_is_given_to_those_only_who_may_see_the_same(http, hidden, acting):
    for _ in range(2):
        with acting(BOB):
            assert hidden in http.post("/query", json=QUESTION).text
        with acting(ADA):
            assert hidden not in http.post("/query", json=QUESTION).text


def test_conversations_and_jobs_of_another_subject_are_404(http, acting):
    with acting(ADA):
        made = http.post("/chat", json={"message": QUESTION["question"]}).json()["conversation_id"]
        job = http.post("/documents", files={"file": ("ada.txt", b"of Ada")}).json()["job_id"]
        assert http.get(f"/conversations/{made}").status_code == 200
        assert http.get(f"/jobs/{job}").status_code == 200
    for who in (BOB, ELSEWHERE):
        with acting(who):
            assert http.get(f"/conversations/{made}").status_code == 404
            assert http.delete(f"/conversations/{made}").status_code == 404
            assert http.post("/chat", json={"message": "And?", "conversation_id": made}).status_code == 404
            assert http.get(f"/jobs/{job}").status_code == 404
            assert http.post(f"/jobs/{job}/cancel").status_code == 404
    assert http.get(f"/conversations/{made}").status_code == 200  # the administrator's


def test_an_upload_brings_readers_and_wrong_ones_are_refused(http):
    sent = http.post("/documents", files={"file": ("new.txt", b"x")}, data={"readers": '["user:ada", "group:hr"]'})
    assert sent.status_code == 202
    for bad in ('["ada"]', '"*"', "[1]", "no json"):
        refused = http.post("/documents", files={"file": ("bad.txt", b"x")}, data={"readers": bad})
        assert (refused.status_code, refused.json()["errors"][0]["field"].split(".")[0]) == (422, "readers"), bad


def test_an_explanation_says_what_lets_somebody_in(http, hidden):
    for subject, groups, matched in (("bob", "eng,hr", ["group:hr"]), ("eve", "", [])):
        asked = {"document_id": hidden, "subject": subject, "groups": groups}
        told = http.get("/access/explain", params=asked).json()
        assert (told["allowed"], told["matched"], told["readers"]) == (bool(matched), matched, ["group:hr"])


def test_a_collection_says_who_reads_what_brings_no_readers(http):
    made = http.post("/collections", json={"name": "closed", "readers": ["group:hr"]})
    assert (made.status_code, made.json()["readers"]) == (201, ["group:hr"])
    assert http.post("/collections", json={"name": "wrong", "readers": ["hr"]}).status_code == 422


def test_the_caller_of_these_tests_is_whom_servers_without_authentication_act_for():
    assert authentication.EVERYBODY.caller is LOCAL
