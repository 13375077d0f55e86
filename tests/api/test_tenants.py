"""Tenants over HTTP: whoever has `tenants` makes, suspends and deletes them, but not the one that he asks from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.scripted import Scripted, running, scripted_app

from config.settings import AuthSettings

BOOTSTRAP = {"X-API-Key": "b" * 40}
Client = tuple[Scripted, httpx.Client]


@pytest.fixture
def served() -> Iterator[Client]:
    made = scripted_app(auth=AuthSettings(mode="required", bootstrap_key=SecretStr("b" * 40), failed_logins=100))
    with running(made.app) as server, httpx.Client(base_url=server.url, headers=BOOTSTRAP) as http:
        yield made, http


def refused(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{slug}"
    return document


def names(http: httpx.Client) -> list[str]:
    return [each["id"] for each in http.get("/tenants").json()["items"]]


def test_a_tenant_is_made_suspended_resumed_and_deleted(served: Client) -> None:
    _, http = served
    made = http.post("/tenants", json={"id": "bolt"})
    assert (made.status_code, made.headers["location"]) == (201, "/tenants/bolt")
    assert made.json() | {"created_at": None} == {
        "id": "bolt", "status": "active", "created_at": None, "collections": 0, "documents": 0, "jobs": 0,
    }  # fmt: skip
    refused(http.post("/tenants", json={"id": "bolt"}), 409, "already-exists")
    assert names(http) == ["acme", "bolt", "public"]
    assert http.post("/tenants/bolt/suspend").json()["status"] == "suspended"
    assert http.post("/tenants/bolt/resume").json()["status"] == "active"
    assert http.delete("/tenants/bolt").json() == {"deleted": "bolt", "counts": {"documents": 3}}
    assert names(http) == ["acme", "public"]


def test_the_list_comes_a_page_at_a_time(served: Client) -> None:
    _, http = served
    first = http.get("/tenants?limit=1").json()
    second = http.get("/tenants", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [each["id"] for page in (first, second) for each in page["items"]] == ["acme", "public"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/tenants/none/suspend"), ("POST", "/tenants/none/resume"), ("DELETE", "/tenants/none")],
)
def test_a_tenant_that_there_is_not_is_404(served: Client, method: str, path: str) -> None:
    refused(served[1].request(method, path), 404, "tenant-not-found")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_nobody_shuts_himself_out(served: Client, method: str) -> None:
    _, http = served
    path = "/tenants/public" + ("/suspend" if method == "POST" else "")
    told = refused(http.request(method, path), 422, "invalid-request")
    assert "command line" in told["detail"]
    assert [each["status"] for each in http.get("/tenants").json()["items"]] == ["active", "active"]


@pytest.mark.parametrize(
    "body", [{}, {"id": "No Such"}, {"id": ""}, {"id": "x" * 64}, {"id": "a", "more": 1}, {"id": 1}]
)
def test_what_is_no_name_is_refused(served: Client, body: dict[str, Any]) -> None:
    refused(served[1].post("/tenants", json=body), 422, "invalid-request")


def test_an_administrator_of_a_tenant_may_none_of_it(served: Client) -> None:
    made, http = served
    key = {"X-API-Key": made.runtime.api_keys.make("admin", "keys", "audit", subject="eve")}
    for method, path in (
        ("GET", "/tenants"),
        ("POST", "/tenants"),
        ("POST", "/tenants/acme/suspend"),
        ("POST", "/tenants/acme/resume"),
        ("DELETE", "/tenants/acme"),
    ):
        told = refused(http.request(method, path, headers=key), 403, "forbidden")
        assert told["errors"] == [{"field": "scope", "reason": "tenants"}], path
    assert names(http) == ["acme", "public"]
