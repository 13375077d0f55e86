"""Who was shown which passages: by every door, on two workers, for documents that are gone, for whoever may know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from support.events import ending, parse
from support.model_server import Reply
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


@pytest.fixture(autouse=True)
def _empty(stack: Stack) -> None:
    stack.rows("DELETE FROM footnote.evidence")
    stack.rows("DELETE FROM footnote.feedback")
    stack.fresh(default=Reply(text="The lamp is lit at dusk [1]."))


def make(http: httpx.Client, *scopes: str, **members: Any) -> dict[str, str]:
    body = {"name": "test", "scopes": list(scopes), **members}
    return bearer(http.post("/keys", json=body).raise_for_status().json()["key"])


def answers(http: httpx.Client, document: str, **options: Any) -> list[dict[str, Any]]:
    found = http.get(f"/documents/{document}/answers", **options).raise_for_status().json()
    return list(found["items"])


@pytest.mark.parametrize("way", SERVERS)
def test_each_door_s_answer_is_recorded_once_with_what_it_showed(stack: Stack, way: str) -> None:
    with serving(stack, way) as http:
        ada = make(http, "query", "feedback", subject="ada")
        whole = http.post("/query", json=QUESTION, headers=ada).raise_for_status().json()
        first = whole["citations"][0]
        document = first["document_id"]
        stream = http.post("/query/stream", json=QUESTION, headers=ada)
        chat = http.post("/chat", json={"message": QUESTION["question"], "k": 2}, headers=ada).raise_for_status().json()
        completion = {"model": "footnote/default", "messages": [{"role": "user", "content": QUESTION["question"]}]}
        http.post("/v1/chat/completions", json=completion, headers=ada).raise_for_status()
        http.post("/v1/chat/completions", json={**completion, "stream": True}, headers=ada).raise_for_status()
        passages = http.post("/retrieve", json=QUESTION, headers=ada).raise_for_status()
        assert ending(parse(stream.text)).name == "done"
        found = until(lambda: (rows := answers(http, document)) and len(rows) == 6 and rows)
        assert [row["operation"] for row in found] == ["retrieve", "chat", "chat", "chat", "query", "query"]
        own = found[-1]
        assert own["request_id"] == whole["request_id"]
        assert own["trace_id"] == whole["trace_id"]
        assert (own["subject"], own["collection"], own["outcome"]) == ("ada", "default", whole["finish_reason"])
        assert own["generation"] == whole["generation"]
        assert own["cited"] is any(c["cited"] for c in whole["citations"] if c["document_id"] == document)
        assert first["chunk_index"] in own["chunks"]
        assert len(own["chunk_ids"]) == sum(c["document_id"] == document for c in whole["citations"])
        assert found[0]["request_id"] == passages.headers["x-request-id"]
        assert found[0]["cited"] is False
        assert {row["conversation_id"] for row in found} == {None, chat["conversation_id"]}
        assert {row["key_id"] for row in found} == {ada["Authorization"].split("_")[1]}
        kept = json.dumps(stack.rows("SELECT to_jsonb(e)::text FROM footnote.evidence e"))
        assert "lamp" not in kept
        assert "dusk" not in kept

        cited = answers(http, document, params={"cited": True})
        assert [row["id"] for row in cited] == [row["id"] for row in found if row["cited"]]
        page = http.get(f"/documents/{document}/answers", params={"limit": 4}).json()
        rest = answers(http, document, params={"limit": 4, "cursor": page["next_cursor"]})
        assert page["items"] + rest == found


async def test_mcp_s_tools_are_a_door_too(stack: Stack) -> None:
    with serving(stack) as http:
        ada = make(http, "query", subject="ada")
        async with (
            create_mcp_http_client(headers=ada) as own,
            Client(streamable_http_client(f"{http.base_url}/mcp", http_client=own)) as client,
        ):
            found = await client.call_tool("search", {"question": QUESTION["question"]})
            await client.call_tool("ask", {"question": QUESTION["question"]})
        assert found.structured_content
        document = found.structured_content["results"][0]["document_id"]
        rows = answers(http, document)
        assert [row["operation"] for row in rows] == ["query", "retrieve"]
        assert all(row["request_id"] and row["subject"] == "ada" for row in rows)


def test_one_sees_one_s_own_and_whoever_has_audit_those_of_the_tenant(stack: Stack) -> None:
    with serving(stack) as http:
        ada, eve = make(http, "query", subject="ada"), make(http, "query", subject="eve")
        auditor, reader = make(http, "audit", subject="karl"), make(http, "documents:read", subject="ada")
        elsewhere = "acme"
        stack.rows("INSERT INTO footnote.tenants (id) VALUES ('acme') ON CONFLICT DO NOTHING")
        stranger = make(http, "admin", subject="ada", tenant=elsewhere)
        whole = http.post("/query", json=QUESTION, headers=ada).json()
        http.post("/retrieve", json=QUESTION, headers=eve).raise_for_status()
        document = whole["citations"][0]["document_id"]
        assert [row["subject"] for row in answers(http, document, headers=ada)] == ["ada"]
        assert [row["subject"] for row in answers(http, document, headers=eve)] == ["eve"]
        assert [row["subject"] for row in answers(http, document, headers=auditor)] == ["eve", "ada"]
        assert http.get(f"/documents/{document}/answers", headers=reader).status_code == 403
        assert http.get(f"/documents/{document}/answers", headers=stranger).status_code == 404
        nothing = http.get("/documents/nothing/answers")
        assert (nothing.status_code, nothing.json()["type"]) == (404, "/problems/document-not-found")
        narrow = make(http, "audit", subject="karl", collections=["another"])
        assert http.get(f"/documents/{document}/answers", headers=narrow).status_code == 404


@pytest.mark.parametrize(("settings", "recorded"), [({}, 0), ({"record": "off"}, 0), ({"record": "on"}, 1)])
def test_without_authentication_nothing_is_recorded_unless_it_is_asked_for(
    stack: Stack, settings: dict[str, str], recorded: int
) -> None:
    with stack.serve(evidence=settings) as http:
        whole = http.post("/query", json=QUESTION).raise_for_status().json()
        found = answers(http, whole["citations"][0]["document_id"])
    assert [row["subject"] for row in found] == ["local"] * recorded


def test_what_a_client_that_left_was_shown_is_recorded(stack: Stack) -> None:
    stack.fresh(default=Reply("one two three four five six seven eight nine ten [1].", delay=0.5))
    with serving(stack, streams={"grace": 0}) as http:
        with http.stream("POST", "/query/stream", json=QUESTION) as response:
            pieces = response.iter_text()
            text = ""
            while "event: sources" not in text:
                text += next(pieces)
        ((document,),) = until(lambda: stack.rows("SELECT DISTINCT document_id FROM footnote.evidence LIMIT 1"))
        (row,) = answers(http, document)
    assert (row["outcome"], row["cited"]) == ("stream-abandoned", False)


def test_the_answers_of_a_document_that_was_deleted_are_found_with_their_ratings(stack: Stack) -> None:
    with serving(stack, "serve_with_workers") as http:
        ada = make(http, "query", "feedback", subject="ada")
        whole = http.post("/query", json=QUESTION, headers=ada).json()
        document = whole["citations"][0]["document_id"]
        rated = {"trace_id": whole["trace_id"], "rating": "down"}
        http.post("/feedback", json=rated, headers=ada).raise_for_status()
        (before,) = until(lambda: answers(http, document))
        (listed,) = http.get("/feedback").json()["items"]
        assert before["feedback"]["rating"] == "down"
        assert listed["answer_id"] == before["id"]
        assert document in listed["document_ids"]
        assert listed["collection"] == "default"
        http.delete(f"/documents/{document}").raise_for_status()
        assert http.get(f"/documents/{document}").status_code == 404
        (after,) = answers(http, document)
        assert after == before
        assert [row["id"] for row in answers(http, document, headers=ada)] == [before["id"]]
