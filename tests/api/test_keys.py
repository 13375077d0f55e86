"""API keys over HTTP: nobody gives away more than he has, and secrets are shown once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.scripted import Scripted, running, scripted_app

from config.settings import AuthSettings

BOOTSTRAP = "b" * 40
Client = tuple[Scripted, httpx.Client]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def served() -> Iterator[Client]:
    made = scripted_app(auth=AuthSettings(mode="required", bootstrap_key=SecretStr(BOOTSTRAP)))
    with running(made.app) as server, httpx.Client(base_url=server.url) as http:
        yield made, http


def create(http: httpx.Client, by: str = BOOTSTRAP, **body: Any) -> httpx.Response:
    return http.post("/keys", headers=bearer(by), json={"name": "n", "scopes": ["query"], **body})


def test_a_key_is_made_used_rotated_and_revoked(served: Client) -> None:
    made, http = served
    answer = create(http, subject="ada", groups=["eng"], collections=["default"], name="desk")
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    first = answer.json()
    assert first["key"].startswith(f"fn_{first['id']}_")
    me = http.get("/me", headers=bearer(first["key"])).json()
    assert (me["subject"], me["groups"], me["collections"], me["key_id"]) == ("ada", ["eng"], ["default"], first["id"])

    rotated = http.post(f"/keys/{first['id']}/rotate", headers=bearer(BOOTSTRAP), json={"overlap_seconds": 60}).json()
    assert rotated["id"] == first["id"]
    assert rotated["key"] != first["key"]
    assert [http.get("/me", headers=bearer(key)).status_code for key in (first["key"], rotated["key"])] == [200, 200]
    third = http.post(f"/keys/{first['id']}/rotate", headers=bearer(BOOTSTRAP), json={"overlap_seconds": 0}).json()
    told = [http.get("/me", headers=bearer(key)).status_code for key in (first["key"], rotated["key"], third["key"])]
    assert told == [401, 401, 200]

    assert http.delete(f"/keys/{first['id']}", headers=bearer(BOOTSTRAP)).status_code == 204
    assert http.get("/me", headers=bearer(third["key"])).status_code == 401
    listed = http.get("/keys", headers=bearer(BOOTSTRAP)).json()["items"]
    assert listed[0]["revoked_at"]
    assert "key" not in listed[0]
    assert not any("hash" in name for name in listed[0])
    assert http.post(f"/keys/{first['id']}/rotate", headers=bearer(BOOTSTRAP), json={}).status_code == 404
    assert first["key"] not in str(made.runtime.api_keys.stored)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["qeury"]}, "scopes.0"),
        ({"scopes": ["query"] * 101}, "scopes"),
        ({"scopes": "query"}, "scopes"),
        ({"name": ""}, "name"),
        ({"name": " padded"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"subject": "x" * 256}, "subject"),
        ({"subject": "a\0b"}, "subject"),
        ({"tenant": "No Such"}, "tenant"),
        ({"groups": ["a\rb"]}, "groups.0"),
        ({"collections": []}, "collections"),
        ({"collections": ["../x"]}, "collections.0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "yesterday"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"admin": True}, "admin"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_with_the_field(served: Client, body: dict[str, Any], field: str) -> None:
    made, http = served
    answer = create(http, **body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert not made.runtime.api_keys.stored


def test_nobody_makes_a_key_that_may_do_more(served: Client) -> None:
    made, http = served
    keys = made.runtime.api_keys
    soon = datetime.now(UTC) + timedelta(hours=1)
    plain = keys.make("keys", "query", subject="ada", groups=("eng",))
    narrow = keys.make("keys", "query", "admin", subject="ada", collections=("default",))
    brief = keys.make("keys", "query", "admin", subject="ada", expires_at=soon)
    admin = keys.make("admin", subject="ada")
    for by, body in [
        (plain, {"scopes": ["admin"]}),
        (plain, {"scopes": ["query", "documents:read"]}),
        (plain, {"subject": "eve"}),
        (plain, {"groups": ["eng", "board"]}),
        (plain, {"tenant": "acme"}),
        (narrow, {"collections": ["default", "secret"]}),
        (narrow, {"collections": ["secret"]}),
        (brief, {"expires_at": (soon + timedelta(hours=1)).isoformat()}),
        (admin, {"tenant": "acme"}),
        (admin, {"scopes": ["tenants"]}),
        (admin, {"scopes": ["metrics"]}),
    ]:
        answer = create(http, by, **body)
        assert answer.status_code == 403, (body, answer.text)
        assert answer.json()["type"] == "/problems/forbidden"
        assert answer.json()["errors"][0]["field"] == "scope"


def test_what_is_left_out_is_no_more_than_whoever_asks_has(served: Client) -> None:
    made, http = served
    soon = datetime.now(UTC) + timedelta(hours=1)
    narrow = made.runtime.api_keys.make(
        "keys", "query", subject="ada", groups=("eng",), collections=("default",), expires_at=soon
    )
    new = create(http, narrow).json()
    assert (new["subject"], new["groups"], new["collections"]) == ("ada", ["eng"], ["default"])
    assert datetime.fromisoformat(new["expires_at"]) == soon
    admin = made.runtime.api_keys.make("admin", subject="root", groups=("staff",))
    assert create(http, admin, subject="eve").json()["groups"] == []
    assert create(http, tenant="acme", scopes=["admin"]).json()["tenant"] == "acme"


def test_one_sees_and_touches_one_s_own_keys_an_administrator_those_of_the_tenant(served: Client) -> None:
    made, http = served
    keys = made.runtime.api_keys
    plain = keys.make("keys", "query", subject="ada")
    admin = keys.make("admin", subject="root")
    of_ada, of_eve = keys.make("query", subject="ada"), keys.make("query", subject="eve")
    strong = keys.make("query", "documents:write", subject="ada")
    elsewhere = keys.make("query", subject="ada", tenant="acme")
    ids = {name: key.split("_")[1] for name, key in [("own", of_ada), ("eve", of_eve), ("acme", elsewhere)]}

    def seen(by: str, query: str = "") -> set[str]:
        return {key["id"] for key in http.get(f"/keys{query}", headers=bearer(by)).json()["items"]}

    assert ids["own"] in seen(plain)
    assert not {ids["eve"], ids["acme"]} & seen(plain)
    assert {ids["own"], ids["eve"]} <= seen(admin)
    assert ids["acme"] not in seen(admin)
    assert seen(BOOTSTRAP, "?tenant=acme") == {ids["acme"]}
    assert http.get("/keys?tenant=acme", headers=bearer(admin)).status_code == 403
    for by, key_id in [(plain, ids["eve"]), (plain, ids["acme"]), (admin, ids["acme"]), (plain, "0" * 12)]:
        assert http.post(f"/keys/{key_id}/rotate", headers=bearer(by), json={}).status_code == 404
        assert http.delete(f"/keys/{key_id}", headers=bearer(by)).status_code == 404
    # whoever rotates a key learns its secret
    rotated = http.post(f"/keys/{strong.split('_')[1]}/rotate", headers=bearer(plain), json={})
    assert rotated.status_code == 403
    assert rotated.json()["errors"] == [{"field": "scope", "reason": "documents:write"}]
    assert http.delete(f"/keys/{ids['eve']}", headers=bearer(admin)).status_code == 204
    assert http.get("/me", headers=bearer(of_eve)).status_code == 401


def test_keys_are_listed_page_by_page(served: Client) -> None:
    made, http = served
    ids = sorted(made.runtime.api_keys.make("query").split("_")[1] for _ in range(5))
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = http.get("/keys", headers=bearer(BOOTSTRAP), params=query).json()
        found += [key["id"] for key in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == ids


@pytest.mark.parametrize("body", [{"overlap_seconds": -1}, {"overlap_seconds": 10**9}, {"overlap": 1}, []])
def test_a_rotation_that_makes_no_sense_is_refused(served: Client, body: Any) -> None:
    made, http = served
    key_id = made.runtime.api_keys.make("query").split("_")[1]
    before = made.runtime.api_keys.stored[key_id]
    answer = http.post(f"/keys/{key_id}/rotate", headers=bearer(BOOTSTRAP), json=body)
    assert answer.status_code == 422
    assert made.runtime.api_keys.stored[key_id] == before
