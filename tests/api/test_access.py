"""Nothing is served but to whom a route's scope allows it: every route, with every kind of wrong key."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from support.scripted import Make, Scripted, Serve

from config.settings import AuthSettings
from server.api.scopes import access_of
from server.auth.key_text import KeyText
from server.principal import OF_THE_SERVER, SCOPES

BOOTSTRAP = "b" * 40
REQUIRED = AuthSettings(mode="required", bootstrap_key=SecretStr(BOOTSTRAP), failed_logins=100_000)
OPEN = {"/health", "/ready", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"}
PAGE = {
    "/web/{build}/{name:path}",
    "/docs/files/{name}",
    "/session",
    "/login",
    "/login/callback",
    "/logout",
    "/evaluations/reports/{ticket}",
}
"""Open too: what the pages are made of, which holds no data; signing in; reports, whose addresses are secrets.

`/` is open to browsers (`test_page.py`), else not.
"""
FILLED = {
    "{stream_id}": "0" * 48,
    "{page}": "1",
    "{job_id}": "5f0c9c0e-7d0b-4e57-9f0e-1f6a2f4d3c11",
    "{key_id}": "a" * 12,
    "{tenant}": "nobody",
    "{model:path}": "footnote/default",
    "{model}": "footnote/default",
}


@dataclass(frozen=True)
class Called:
    """A route as it is called, and the scopes one of which it needs."""

    method: str
    path: str
    scopes: tuple[str, ...]


def routes(app: Any) -> list[Called]:
    """Return every route of the application, by each of its methods."""
    found = []
    for route in iter_route_contexts(app.router.routes):
        access = access_of(route.endpoint)
        assert access is not None, f"{route.path} does not say who may call it"
        path = route.path
        for part, value in FILLED.items():
            path = path.replace(part, value)
        methods = sorted(route.methods or {"POST", "GET", "DELETE"})
        found += [Called(method, path, access.scopes) for method in methods]
    return found


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Scripted, httpx.Client]]:
    """Serve an application that requires keys."""
    from support.scripted import running, scripted_app

    made = scripted_app(auth=REQUIRED)
    with running(made.app) as server, httpx.Client(base_url=server.url, timeout=20) as http:
        yield made, http


def wrong_keys(made: Scripted) -> dict[str, dict[str, str]]:
    """Return headers that let nobody in, by what is wrong with them."""
    keys, now = made.runtime.api_keys, datetime.now(UTC)
    good = keys.make("admin", *OF_THE_SERVER)
    revoked, expired = keys.make("admin", revoked_at=now), keys.make("admin", expires_at=now - timedelta(seconds=1))
    other = KeyText.parse(good)
    assert other
    rotated = keys.make("admin")
    known = KeyText.parse(rotated)
    assert known
    keys.stored[known.id] = replace(
        keys.stored[known.id],
        secret_hash=KeyText.new().secret_hash,
        previous_hash=known.secret_hash,
        previous_until=now - timedelta(seconds=1),
    )
    return {
        "no key": {},
        "empty": {"Authorization": ""},
        "no token": {"Authorization": "Bearer"},
        "garbage": bearer("garbage"),
        "another scheme": {"Authorization": f"Basic {good}"},
        "mistyped": bearer(good[:-1] + ("a" if good[-1] != "a" else "b")),
        "unknown": bearer(str(KeyText.new())),
        "another's secret": bearer(str(KeyText.new(other.id))),
        "revoked": bearer(revoked),
        "expired": bearer(expired),
        "rotated long ago": bearer(rotated),
        "an unsigned token": bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."),
        "a key in the query string": {},
    }


def test_every_route_says_who_may_call_it_and_only_these_are_open(running: tuple[Scripted, httpx.Client]) -> None:
    made, _ = running
    is_open = {route.path for route in iter_route_contexts(made.app.router.routes) if access_of(route.endpoint).is_open}
    assert is_open == OPEN | PAGE
    paths = {called.path for called in routes(made.app)}
    assert {"/docs", "/openapi.json", "/metrics", "/mcp", "/v1/chat/completions", "/keys", "/me", "/"} <= paths


def test_no_route_answers_without_a_key_that_is_good(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    wrong = wrong_keys(made)
    asked = [called for called in routes(made.app) if called.path not in OPEN | PAGE]
    assert len(asked) > 50
    for called in [*asked, Called("GET", "/no/such/route", ()), Called("OPTIONS", "/query", ())]:
        for what, headers in wrong.items():
            query = {"access_token": made.runtime.api_keys.make("admin")} if "query string" in what else None
            answer = http.request(called.method, called.path, headers=headers, json={"question": "?"}, params=query)
            assert answer.status_code == 401, (called, what, answer.text)
            assert answer.headers["www-authenticate"].startswith('Bearer realm="footnote"')
            if called.method != "HEAD":
                document = answer.json()
                told = document["error"]["code"] if called.path.startswith("/v1") else document["type"]
                assert told in {"invalid_api_key", "/problems/unauthenticated"}
    assert not made.answers.questions


def test_a_key_without_the_scope_is_told_which_one_is_missing(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    for called in routes(made.app):
        if not called.scopes:
            continue
        others = [scope for scope in SCOPES if scope not in called.scopes and scope != "admin"]
        answer = http.request(
            called.method, called.path, headers=bearer(made.runtime.api_keys.make(*others)), json={"question": "?"}
        )
        assert answer.status_code == 403, (called, answer.text)
        assert f'scope="{called.scopes[0]}"' in answer.headers["www-authenticate"]
        if called.path.startswith("/v1"):
            assert answer.json()["error"]["type"] == "permission_error"
            assert called.scopes[0] in answer.json()["error"]["message"]
        elif called.method != "HEAD":
            assert answer.json()["type"] == "/problems/forbidden"
            assert answer.json()["errors"] == [{"field": "scope", "reason": called.scopes[0]}]
    assert not made.answers.questions


def test_each_scope_alone_lets_one_in(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    for called in routes(made.app):
        for scope in called.scopes or ("audit",):
            key = made.runtime.api_keys.make(scope)
            with http.stream(called.method, called.path, headers=bearer(key), json={}) as answer:
                assert answer.status_code not in {401, 403}, (called, scope)


def test_an_administrator_has_every_scope_of_the_tenant_but_none_of_the_server(
    running: tuple[Scripted, httpx.Client],
) -> None:
    made, http = running
    headers = bearer(made.runtime.api_keys.make("admin"))
    for called in routes(made.app):
        with http.stream(called.method, called.path, headers=headers, json={}) as answer:
            is_refused = answer.status_code in {401, 403}
            assert is_refused == (not OF_THE_SERVER.isdisjoint(called.scopes)), called


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_either_header_carries_a_key(running: tuple[Scripted, httpx.Client], header: str) -> None:
    made, http = running
    key = made.runtime.api_keys.make("query", subject="ada", groups=("eng",))
    value = f"bearer  {key}" if header == "Authorization" else key
    me = http.get("/me", headers={header: value}).json()
    assert me == {
        "tenant": "public",
        "subject": "ada",
        "groups": ["eng"],
        "scopes": ["query"],
        "collections": None,
        "key_id": key.split("_")[1],
        "limits": {"requests_a_minute": {}, "quotas": {}, "budgets": []},
    }


def test_two_different_keys_are_refused_and_the_same_twice_is_not(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    one, other = made.runtime.api_keys.make("query"), made.runtime.api_keys.make("admin")
    assert http.get("/me", headers={**bearer(one), "X-API-Key": one}).status_code == 200
    assert http.get("/me", headers={**bearer(one), "X-API-Key": other}).status_code == 401
    assert http.get("/me", headers=[("X-API-Key", one), ("X-API-Key", other)]).status_code == 401
    twice = [("Authorization", f"Bearer {one}"), ("Authorization", f"Bearer {one}")]
    assert http.get("/me", headers=twice).status_code == 401
    # a proxy's own login in `Authorization` is no key
    assert http.get("/me", headers={"Authorization": "Basic dTpw", "X-API-Key": one}).json()["scopes"] == ["query"]


def test_the_bootstrap_key_may_do_everything(running: tuple[Scripted, httpx.Client]) -> None:
    _, http = running
    assert http.get("/me", headers=bearer(BOOTSTRAP)).json()["scopes"] == sorted(SCOPES)
    assert http.get("/metrics", headers=bearer(BOOTSTRAP)).status_code == 200
    assert http.get("/me", headers=bearer(BOOTSTRAP + "b")).status_code == 401


def test_ready_tells_its_detail_only_to_whoever_has_a_key(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    key = bearer(made.runtime.api_keys.make("query"))
    assert http.get("/ready").json() == {"status": "ready", "dependencies": {}}
    assert http.get("/ready", headers=bearer("garbage")).json() == {"status": "ready", "dependencies": {}}
    assert "database" in http.get("/ready", headers=key).json()["dependencies"]
    state = made.runtime.states["database"]
    made.runtime.states["database"] = replace(state, ok=False, detail="secret.host does not answer")
    try:
        assert http.get("/ready").status_code == 503
        assert "secret.host" not in http.get("/ready").text
        assert "secret.host" in http.get("/ready", headers=key).text
    finally:
        made.runtime.states["database"] = state


def test_health_looks_at_no_key(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    looks = made.runtime.api_keys.looks
    assert http.get("/health", headers=bearer(str(KeyText.new()))).status_code == 200
    assert made.runtime.api_keys.looks == looks


def test_where_authentication_is_off_everybody_may_do_everything(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server, httpx.Client(base_url=server.url) as http:
        me = http.get("/me").json()
        assert (me["tenant"], me["subject"], me["scopes"]) == ("public", "local", sorted(SCOPES))
        assert http.post("/query", json={"question": "?"}).status_code == 200
        assert "database" in http.get("/ready").json()["dependencies"]
        assert http.get("/me", headers=bearer("whatever")).status_code == 200


def test_a_route_without_a_scope_refuses_everybody(scripted: Make, serve: Serve) -> None:
    made = scripted(auth=REQUIRED)

    @made.app.get("/forgotten")
    async def forgotten() -> str:
        return "secret"

    with serve(made.app) as server, httpx.Client(base_url=server.url) as http:
        answer = http.get("/forgotten", headers=bearer(BOOTSTRAP))
        assert answer.status_code == 403
        assert "secret" not in answer.text


def test_a_web_page_may_ask_what_it_may_send_and_reads_why_it_was_refused(scripted: Make, serve: Serve) -> None:
    page = "https://app.example"
    made = scripted(auth=REQUIRED, cors_origins=(page,))
    with serve(made.app) as server, httpx.Client(base_url=server.url) as http:
        asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
        preflight = http.options(
            "/query", headers={**asked, "Access-Control-Request-Headers": "authorization,content-type"}
        )
        assert preflight.status_code == 200
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        refused = http.post("/query", headers={"Origin": page}, json={"question": "?"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == page
        assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]


def test_too_many_wrong_keys_make_an_address_wait_but_nobody_else_who_shares_it(scripted: Make, serve: Serve) -> None:
    made = scripted(auth=REQUIRED.model_copy(update={"failed_logins": 5}))
    keys = made.runtime.api_keys
    with serve(made.app) as server, httpx.Client(base_url=server.url) as http:
        told = [http.get("/me", headers=bearer(str(KeyText.new()))).status_code for _ in range(7)]
        assert told == [401] * 5 + [429] * 2
        answer = http.get("/me", headers=bearer("garbage"))
        assert answer.json()["type"] == "/problems/rate-limited"
        assert int(answer.headers["retry-after"]) >= 1
        assert http.get("/v1/models", headers=bearer("garbage")).json()["error"]["code"] == "rate_limit_exceeded"
        # a proxy's address is that of many
        assert http.get("/me", headers=bearer(keys.make("query"))).status_code == 200
        assert http.get("/me", headers=bearer(BOOTSTRAP)).status_code == 200
        assert http.get("/me").status_code == 401
        assert http.get("/health").status_code == 200


def test_a_key_that_was_good_once_is_no_guess(scripted: Make, serve: Serve) -> None:
    made = scripted(auth=REQUIRED.model_copy(update={"failed_logins": 5}))
    past = datetime.now(UTC) - timedelta(hours=1)
    with serve(made.app) as server, httpx.Client(base_url=server.url) as http:
        for members in ({"expires_at": past}, {"revoked_at": past}):
            key = bearer(made.runtime.api_keys.make("query", **members))
            assert {http.get("/me", headers=key).status_code for _ in range(10)} == {401}


async def test_guesses_at_once_from_an_address_that_is_to_wait_take_little(scripted: Make, serve: Serve) -> None:
    made = scripted(auth=REQUIRED.model_copy(update={"failed_logins": 1}))
    with serve(made.app) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await client.get("/me", headers=bearer("garbage"))
            find, at_once, most = made.runtime.api_keys.find, 0, 0

            async def slow(key_id: str) -> Any:
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0.01)
                at_once -= 1
                return await find(key_id)

            made.runtime.api_keys.find = slow  # type: ignore[method-assign]
            asked = [client.get("/me", headers=bearer(str(KeyText.new()))) for _ in range(100)]
            told = {answer.status_code for answer in await asyncio.gather(*asked)}
    assert told == {429}
    assert most == 1


def test_what_is_uploaded_without_a_key_is_not_read(running: tuple[Scripted, httpx.Client]) -> None:
    _, http = running
    answer = http.post("/documents", files={"file": ("x.md", b"# Planted\n" * 100_000)})
    assert answer.status_code == 401
    assert answer.headers["connection"] == "close"


def test_the_log_names_the_key_and_never_its_secret(running: tuple[Scripted, httpx.Client], logged: Any) -> None:
    made, http = running
    key = made.runtime.api_keys.make("query")
    http.get("/me", headers=bearer(key))
    http.get("/keys", headers=bearer(key))
    lines = [line for line in logged() if line.get("key") == key.split("_")[1]]
    assert {line["status"] for line in lines} >= {200}
    assert key not in str(logged())


def test_a_request_that_was_sent_behind_another_s_is_not_that_one_s(running: tuple[Scripted, httpx.Client]) -> None:
    """Both come over one connection, the second before the first is answered, as proxies may send them."""
    made, http = running
    key = made.runtime.api_keys.make("admin")
    first = f"GET /me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
    second = "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
    third = "GET /me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection((http.base_url.host, http.base_url.port or 80), timeout=20) as connection:
        connection.sendall((first + second + third).encode())
        answers = b""
        while piece := connection.recv(65_536):
            answers += piece
    _, me, ready, refused = answers.decode().split("HTTP/1.1 ")
    assert '"subject":"ada"' in me
    assert '"dependencies":{}' in ready
    assert refused.startswith("401")


async def test_callers_at_once_are_not_mixed_up(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    subjects = [f"subject {number}" for number in range(30)]
    keys = {subject: made.runtime.api_keys.make("query", subject=subject) for subject in subjects}
    async with httpx.AsyncClient(base_url=str(http.base_url), timeout=60) as client:

        async def ask(subject: str, key: str) -> bool:
            answer = await client.get("/me", headers=bearer(key))
            return bool(answer.json()["subject"] == subject)

        told = await asyncio.gather(*(ask(subject, key) for subject, key in [*keys.items()] * 10))
    assert all(told)


async def test_calls_of_mcp_at_once_are_each_their_caller_s(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    keys = made.runtime.api_keys
    callers = {keys.make("query", *further): bool(further) for further in [(), ("documents:read",)] * 10}
    message = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "get_document", "arguments": {"document_id": "doc-1", "max_characters": 100}},
    }
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(base_url=str(http.base_url), timeout=60) as client:

        async def reads(key: str) -> bool:
            answer = await client.post("/mcp", json=message, headers={**bearer(key), **accept})
            assert answer.status_code == 200
            assert ("The text of" in answer.text) != ("needs the scope 'documents:read'" in answer.text)
            return "The text of" in answer.text

        told = await asyncio.gather(*(reads(key) for key in [*callers] * 10))
    assert told == [*callers.values()] * 10


def test_behind_a_trusted_proxy_each_client_has_failures_of_its_own(scripted: Make, serve: Serve) -> None:
    auth = REQUIRED.model_copy(update={"failed_logins": 3})
    for trusted, told in (("127.0.0.1,::1", 401), ("", 429), ("10.0.0.0/8", 429)):
        made = scripted(auth=auth, trusted_proxies=trusted)
        with serve(made.app) as server, httpx.Client(base_url=server.url) as http:

            def guess(client: str, http: httpx.Client = http) -> int:
                headers = {"Authorization": "Bearer fn_wrong", "X-Forwarded-For": f"6.6.6.6, {client}"}
                return http.get("/me", headers=headers).status_code

            assert [guess("1.1.1.1") for _ in range(4)] == [401, 401, 401, 429]
            assert guess("2.2.2.2") == told


def flooded(connection: socket.socket, piece: bytes, *, bytes_in_all: int) -> None:
    for _ in range(0, bytes_in_all, len(piece)):
        connection.sendall(piece)


def test_a_trailer_is_no_header(running: tuple[Scripted, httpx.Client]) -> None:
    made, http = running
    key = made.runtime.api_keys.make("admin")
    body = json.dumps({"question": "Who?"}).encode()
    head = b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(body), body)
    trailers = f"Authorization: Bearer {key}\r\nX-Request-ID: smuggled\r\n\r\n".encode()
    own = f"Authorization: Bearer {key}\r\n".encode()
    for request, status in ((head + chunked + trailers, b"401"), (head + own + chunked + trailers, b"200")):
        with socket.create_connection((http.base_url.host, http.base_url.port or 80), timeout=20) as connection:
            connection.sendall(request)
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"smuggled" not in answer


@pytest.mark.parametrize("flood", [b"X-A: a\r\n" * 512, b"a" * 4096], ids=["many trailers", "one that never ends"])
def test_trailers_without_end_lose_the_connection(running: tuple[Scripted, httpx.Client], flood: bytes) -> None:
    _, http = running
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-B: "
    with socket.create_connection((http.base_url.host, http.base_url.port or 80), timeout=20) as connection:
        connection.sendall(head)
        with pytest.raises(ConnectionError):
            flooded(connection, flood, bytes_in_all=20_000_000)
    assert http.get("/health").status_code == 200


def test_requests_that_are_sent_ahead_without_end_lose_the_connection(running: tuple[Scripted, httpx.Client]) -> None:
    _, http = running
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection((http.base_url.host, http.base_url.port or 80), timeout=20) as connection:
        connection.sendall(one * 20)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 20:
            answers += connection.recv(65_536)
        with pytest.raises(ConnectionError):
            flooded(connection, one * 1_000, bytes_in_all=80_000_000)
    assert http.get("/health").status_code == 200
