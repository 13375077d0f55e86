"""What is refused, by which door ever, is counted for the audit record; reading the record is an auditor's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.scripted import Scripted, running, scripted_app

from config.settings import AuthSettings
from server.auth.key_text import KeyText

BOOTSTRAP = "b" * 40
Client = tuple[Scripted, httpx.Client]
MCP = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}


@pytest.fixture
def served() -> Iterator[Client]:
    made = scripted_app(auth=AuthSettings(mode="required", bootstrap_key=SecretStr(BOOTSTRAP), failed_logins=3))
    with running(made.app) as server, httpx.Client(base_url=server.url) as http:
        yield made, http


def counted(made: Scripted) -> list[tuple[Any, ...]]:
    return [
        (each.first.action, each.first.about, each.first.subject, each.first.key, each.first.client, each.count)
        for each in made.runtime.refusals._counted.values()
    ]


def test_every_door_tells_of_what_it_refuses(served: Client) -> None:
    made, http = served
    key = made.runtime.api_keys.make("query")
    key_id, own = key.split("_")[1], {"X-API-Key": key}
    call = {"name": "get_document", "arguments": {"document_id": "doc-1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    assert "forbidden" in http.post("/mcp", json=message, headers=own | MCP).text
    for path in ("/audit", "/documents/doc-1?secret=x", "/" + "metrics"):
        assert http.get(path, headers=own).status_code == 403
    rater = {"X-API-Key": made.runtime.api_keys.make("feedback", subject="eve")}
    assert http.get("/v1/models", headers=rater).status_code == 403
    keys = {"X-API-Key": made.runtime.api_keys.make("keys", subject="bob")}
    for _ in range(2):
        body = {"name": "n", "scopes": ["admin"]}
        assert http.post("/keys", json=body, headers=keys | {"X-Request-ID": "r-1"}).status_code == 403
    asked = ["mcp get_document", "GET /audit", "GET /documents/doc-1", "GET /metrics", "GET /v1/models", "POST /keys"]
    found = counted(made)
    assert [each[1] for each in found] == asked
    assert {each[2:5] for each in found[:4]} == {("ada", key_id, "127.0.0.1")}
    assert [each[5] for each in found] == [1, 1, 1, 1, 1, 2]
    assert [each.first.request_id for each in made.runtime.refusals._counted.values()][-1] == "r-1"


def test_wrong_credentials_are_told_without_them_and_nothing_given_is_not(served: Client) -> None:
    made, http = served
    key = made.runtime.api_keys.make("query")
    wrong = str(KeyText.new(key.split("_")[1]))
    for credential in (wrong, wrong, "nonsense", "a.b.c", "x" * 5000, wrong, wrong):
        assert http.get("/me", headers={"X-API-Key": credential}).status_code in {401, 429}
    assert http.get("/me").status_code == 401
    assert http.get("/health").status_code == 200
    assert http.get("/ready", headers={"X-API-Key": wrong}).status_code == 200  # open to everybody
    assert [(each[0], each[3], each[5]) for each in counted(made)] == [
        ("login.fail", key.split("_")[1], 4),
        ("login.fail", None, 3),
    ]
    assert wrong.split("_")[2] not in str(made.runtime.refusals._counted)


def test_nothing_is_told_of_what_is_let_in_and_the_record_is_read(served: Client) -> None:
    made, http = served
    auditor = {"X-API-Key": made.runtime.api_keys.make("audit")}
    page = http.get("/audit", headers=auditor).json()
    assert [line["object"] for line in page["items"]] == ["tenant:acme"]
    assert set(page["items"][0]) >= {
        *("id", "at", "tenant", "subject", "action", "object", "outcome", "request_id", "trace_id", "before", "after")
    }
    assert http.get("/audit", headers={"X-API-Key": BOOTSTRAP}).status_code == 200
    part = {"X-API-Key": made.runtime.api_keys.make("audit", collections=("default",))}
    assert http.get("/audit", headers=part).status_code == 403
    assert [each[1] for each in counted(made)] == ["GET /audit"]
