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
        for answer in (
            http.post("/documents", files={"file": ("x.txt", b"mine")}, data={"source": source, "document_id": "mine"}),
            http.put("/documents/mine", files={"file": ("x.txt", b"mine")}, data={"source": source}),
        ):
            assert answer.status_code in {404, 409}
            assert hidden not in answer.text


def test_an_attachment_that_one_may_not_read_is_not_there_for_an_upload_either(http, stack, hidden, acting):
    execute(
        stack.dsn,
        f"""INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
                pipeline_fingerprint, bytes, chunks, parent, access)
            SELECT tenant_id, generation_id, 'attached', 'x#y.pdf', 'Y', '{{}}', 'h', 'f', 1, 0, id, access
            FROM footnote.documents WHERE id = '{hidden}'""",
    )
    with acting(ADA):
        refused = brought(http, "mine", document_id="attached")
        assert (refused.status_code, hidden in refused.text) == (404, False)
    with acting(BOB):
        told = brought(http, "mine", document_id="attached")
        assert (told.status_code, hidden in told.text) == (409, True)


def test_a_collection_with_a_document_that_one_may_not_read_is_an_administrator_s_to_delete(http, hidden, acting):
    with acting(ADA):
        refused = http.delete("/collections/default")
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
        assert "administrator" in refused.json()["detail"]
    assert http.get(f"/documents/{hidden}").status_code == 200
    http.post("/collections", json={"name": "open-to-all"}).raise_for_status()
    with acting(ADA):
        assert http.delete("/collections/open-to-all").status_code == 204


def brought(http, text, **data):
    return http.post("/documents", files={"file": ("plan.md", text.encode())}, data=data)


def test_what_is_on_its_way_is_replaced_by_nobody_who_will_not_be_able_to_read_it(http, acting):
    """Nothing runs jobs here: what one brings waits, and was cancelled by the next file of its name."""
    mine = {"readers": '["user:ada"]'}
    with acting(ADA):
        waiting = [brought(http, "of Ada", **mine), brought(http, "of Ada", **mine, document_id="ada-plan", source="x")]
    with acting(BOB):
        for data, status in (({}, 409), ({"document_id": "ada-plan"}, 404), ({**mine, "document_id": "ada-plan"}, 404)):
            refused = brought(http, "of Bob", **data)
            assert (refused.status_code, "of Ada" in refused.text) == (status, False), data
        assert http.delete("/documents/ada-plan").status_code == 404
    with acting(ADA):
        for sent in waiting:
            assert http.get(f"/jobs/{sent.json()['job_id']}").json()["status"] == "queued"
        replaced = brought(http, "of Ada, again", **mine)
        assert replaced.status_code == 202
        assert http.get(f"/jobs/{waiting[0].json()['job_id']}").json()["superseded_by"] == replaced.json()["job_id"]
    assert brought(http, "the administrator's", document_id="ada-plan").status_code == 202


def test_what_is_on_its_way_and_brings_no_readers_has_its_collection_s(http, acting):
    http.post("/collections", json={"name": "of-hr", "readers": ["group:hr"]}).raise_for_status()
    with acting(BOB):
        assert brought(http, "of Bob", collection="of-hr", document_id="b").status_code == 202
        assert brought(http, "for all", collection="of-hr", document_id="all", readers='["*"]').status_code == 202
        assert brought(http, "of Bob", document_id="for-everybody").status_code == 202
    with acting(ADA):
        assert brought(http, "of Ada", collection="of-hr", document_id="b").status_code == 404
        assert brought(http, "of Ada", collection="of-hr", document_id="all", source="2").status_code == 202
        assert brought(http, "of Ada", document_id="for-everybody").status_code == 202
        assert http.delete("/collections/of-hr").status_code == 403
    assert http.delete("/collections/of-hr").status_code == 204


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
