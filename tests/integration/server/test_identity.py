"""Who asks, on real servers over a real database: keys of the command line, on two workers, by every door."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from mcp.client import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from support.databases import in_database
from support.indexed import index
from support.model_server import Reply
from support.programs import run
from support.stack import PATIENCE, SERVERS, Stack, StackClient, until
from support.tokens import AUDIENCE, ISSUER, Issuer
from support.traffic import database_gone

BOOTSTRAP = "b" * 40
REQUIRED = {"mode": "required", "bootstrap_key": BOOTSTRAP, "failed_logins": 100_000}
QUESTION = {"question": "Who built the lighthouse of Ostrava Bay?"}
SECRET = {"secret.md": "The lighthouse of Ostrava Bay hides the treasure of captain Novak under its third step."}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def serving(stack: Stack, way: str = "serve", **groups: Any) -> Iterator[StackClient]:
    """Serve with keys required; the client has the bootstrap key."""
    with getattr(stack, way)(auth={**REQUIRED, **groups.pop("auth", {})}, **groups) as http:
        http.headers.update(bearer(BOOTSTRAP))
        yield http


def make(http: httpx.Client, *scopes: str, **members: Any) -> dict[str, str]:
    """Make a key; return the headers that carry it."""
    body = {"name": "test", "scopes": list(scopes), **members}
    return bearer(http.post("/keys", json=body).raise_for_status().json()["key"])


def command(stack: Stack, *arguments: str) -> Any:
    """Run ``python -m server keys``; return what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    env = {**clean, "FOOTNOTE_DATABASE__URL": stack.dsn, "FOOTNOTE_DATA_DIR": str(stack.data_dir)}
    return run(["-m", "server", "keys", *arguments], env=env)


def start(stack: Stack, **settings: str) -> Any:
    """Run ``python -m server``, which is expected to end by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    named = {"DATABASE__URL": stack.dsn, "DATA_DIR": str(stack.data_dir), "SERVER__PORT": "0", **settings}
    env = {**clean, **{f"FOOTNOTE_{name}": value for name, value in named.items()}}
    return run(["-m", "server"], env=env, timeout=PATIENCE)


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    """Make a second collection; return its name."""
    in_database(stack.dsn, lambda database: index(database, stack.embedder, SECRET, "secret"))
    return "secret"


def test_a_key_of_the_command_line_works_on_every_worker_until_it_is_revoked(stack: Stack) -> None:
    made = command(
        stack, "create", "--name", "desk", "--subject", "ada", "--groups", "eng, staff", "--scopes", "query", "--json"
    )
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    assert (key["subject"], key["groups"], key["tenant"]) == ("ada", ["eng", "staff"], "public")
    with serving(stack, "serve_with_workers") as http:

        def told(secret: str) -> set[int]:
            """Ask so often that both workers are asked; a connection of its own each."""
            return {http.get("/me", headers=bearer(secret)).status_code for _ in range(24)}

        assert told(key["key"]) == {200}
        assert http.post("/query", json=QUESTION, headers=bearer(key["key"])).json()["citations"]
        rotated = json.loads(command(stack, "rotate", key["id"], "--overlap", "3600", "--json").stdout)
        until(lambda: told(rotated["key"]) == {200})
        assert told(key["key"]) == {200}
        listed = command(stack, "list").stdout
        assert f"{key['id']}  active" in listed
        assert key["key"] not in listed
        done = command(stack, "revoke", f"fn_{key['id']}")
        assert done.returncode == 0
        until(lambda: told(rotated["key"]) == {401} and told(key["key"]) == {401})
        assert "revoked" in command(stack, "list").stdout

        # a connection that listens is lost: the next one hears of what comes after it
        stack.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%keys%'")
        other = make(http, "query", name="second")
        until(lambda: {http.get("/me", headers=other).status_code for _ in range(24)} == {200})
        stack.rows("UPDATE footnote.api_keys SET revoked_at = now() RETURNING true")
        until(lambda: {http.get("/me", headers=other).status_code for _ in range(24)} == {401})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "--name", "x", "--scopes", "qeury"), "no scope"),
        (("create", "--name", "", "--scopes", "query"), "--name"),
        (("create", "--name", "x", "--scopes", ""), "--scopes"),
        (("create", "--name", "x", "--scopes", "query", "--tenant", "No Such"), "--tenant"),
        (("create", "--name", "x", "--scopes", "query", "--expires-in", "-1"), "future"),
        (("create", "--name", "x", "--scopes", "query", "--expires-in", "1e300"), "date"),
        (("create", "--name", "x", "--scopes", "query", "--expires-in", "nan"), "date"),
        (("rotate", "nobody"), "no key"),
        (("revoke", "fn_nobody"), "no key"),
        (("rotate", "nobody", "--overlap", "-1"), "--overlap"),
    ],
)
def test_a_command_that_cannot_be_done_says_why_in_one_line(
    stack: Stack, arguments: tuple[str, ...], told: str
) -> None:
    done = command(stack, *arguments)
    assert done.returncode == 2
    assert told in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_where_others_reach_it_a_server_does_not_start_until_somebody_has_chosen(host: str, tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    env = {**clean, "FOOTNOTE_SERVER__HOST": host, "FOOTNOTE_SERVER__PORT": "0", "FOOTNOTE_DATA_DIR": str(tmp_path)}
    done = run(["-m", "server"], env=env, timeout=60)
    assert done.returncode == 2
    assert "FOOTNOTE_AUTH__MODE=required" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_server_with_a_key_in_a_file_takes_it_and_one_whose_file_holds_none_does_not_start(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(BOOTSTRAP + "\n")
    env = {"SERVER__HOST": "0.0.0.0", "AUTH__MODE": "required", "AUTH__BOOTSTRAP_KEY_FILE": str(file)}
    with stack.process(**env) as process:
        url = process.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/me").status_code == 401
        assert httpx.get(f"{url}/me", headers=bearer(BOOTSTRAP)).json()["subject"] == "bootstrap"
    file.write_text("short")
    done = start(stack, **env)
    assert done.returncode == 2
    assert "BOOTSTRAP_KEY_FILE" in done.stderr


def test_known_keys_go_on_while_the_database_is_away(stack: Stack) -> None:
    with serving(stack) as http:
        known, fresh = make(http, "query"), make(http, "query")
        assert http.get("/me", headers=known).status_code == 200
        with database_gone(stack):
            for _ in range(5):
                assert http.get("/me", headers=known).status_code == 200
                time.sleep(0.4)
            assert http.get("/me", headers=bearer(BOOTSTRAP)).status_code == 200
            answer = http.get("/me", headers=fresh)
            assert answer.status_code == 503
            assert answer.json()["type"] == "/problems/store-unavailable"
            assert http.get("/health", headers={"Authorization": ""}).status_code == 200
            assert http.get("/ready", headers={"Authorization": ""}).json()["detail"].endswith("is told why")
        until(lambda: http.get("/me", headers=fresh).status_code == 200)
    with serving(stack, auth={"key_grace": 0}) as http:
        known = make(http, "query")
        assert http.get("/me", headers=known).status_code == 200
        with database_gone(stack):
            until(lambda: http.get("/me", headers=known).status_code == 503)


def test_the_time_of_a_key_s_last_use_is_kept(stack: Stack) -> None:
    with serving(stack) as http:
        key = make(http, "query")
        http.get("/me", headers=key)
        key_id = key["Authorization"].split("_")[1]
        assert stack.rows("SELECT last_used_at FROM footnote.api_keys WHERE id = %s", key_id) == [(None,)]
    ((used,),) = stack.rows("SELECT last_used_at FROM footnote.api_keys WHERE id = %s", key_id)
    assert used is not None


@pytest.mark.parametrize("way", SERVERS)
def test_a_stream_is_resumed_by_whom_it_belongs_to_alone(stack: Stack, way: str) -> None:
    stack.fresh(default=Reply("Milada Novak built it [1]."))
    stack.rows("INSERT INTO footnote.tenants (id) VALUES ('acme') ON CONFLICT DO NOTHING RETURNING 1")
    with serving(stack, way) as http:
        ada, again = make(http, "query", subject="ada"), make(http, "query", subject="ada")
        eve, admin = make(http, "query", subject="eve"), make(http, "admin", subject="root")
        elsewhere = make(http, "query", subject="ada", tenant="acme")
        asked = http.post("/query/stream", json=QUESTION, headers=ada)
        stream = asked.headers["x-stream-id"]
        for _ in range(8):  # either worker may be the one that is asked
            for other in (eve, admin, elsewhere, bearer(BOOTSTRAP)):
                refused = http.get(f"/streams/{stream}", headers=other)
                assert refused.status_code == 404
                assert refused.json()["type"] == "/problems/stream-not-found"
            for own in (ada, again):
                assert http.get(f"/streams/{stream}", headers=own).text == asked.text


def test_cached_answers_are_given_to_whoever_may_see_the_same(stack: Stack) -> None:
    stack.fresh(default=Reply("Milada Novak built it [1]."))
    with serving(stack, cache={"answers": True}) as http:
        ada, eve = make(http, "query", subject="ada"), make(http, "query", subject="eve")
        cached = [
            http.post("/query", json={**QUESTION, "temperature": 0}, headers=who).headers.get("cache-status")
            for who in (ada, eve, ada, eve)
        ]
        assert cached[:2] == [None, None]
        assert all(cached[2:])


def test_an_idempotency_key_is_no_door_to_another_s_answer(stack: Stack) -> None:
    stack.fresh(default=Reply("Milada Novak built it [1]."))
    with serving(stack) as http:
        ada, eve = make(http, "query", subject="ada"), make(http, "query", subject="eve")
        first = http.post("/query", json=QUESTION, headers={**ada, "Idempotency-Key": "one"})
        assert first.status_code == 200
        again = http.post("/query", json=QUESTION, headers={**ada, "Idempotency-Key": "one"})
        assert again.headers["idempotent-replayed"] == "true"
        other = http.post("/query", json=QUESTION, headers={**eve, "Idempotency-Key": "one"})
        assert "idempotent-replayed" not in other.headers


def test_a_collection_that_a_key_does_not_reach_does_not_exist_for_it(stack: Stack, secret: str) -> None:
    stack.fresh(default=Reply("It is under the third step [1]."))
    with serving(stack) as http:
        every = make(http, "admin", subject="ada")
        key = make(http, "admin", subject="ada", collections=["default"])
        http.headers.clear()
        asked = {**QUESTION, "collection": secret}
        there = http.get("/documents", params={"collection": secret}, headers=every).json()["items"][0]["id"]
        said = http.post("/chat", json={"message": "Where is the treasure?", "collection": secret}, headers=every)
        conversation = said.raise_for_status().json()["conversation_id"]
        upload = {"file": ("more.md", b"# More\n\nMore of the treasure.")}
        job = http.post("/documents", files=upload, data={"collection": secret}, headers=every).json()["job_id"]
        keyed = {"Idempotency-Key": "treasure"}
        http.post("/query", json=asked, headers={**every, **keyed}).raise_for_status()

        doors: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "/query", {"json": asked}),
            ("POST", "/query/stream", {"json": asked}),
            ("POST", "/retrieve", {"json": asked}),
            ("POST", "/chat", {"json": {"message": "And?", "collection": secret}}),
            ("POST", "/chat", {"json": {"message": "And?", "conversation_id": conversation}}),
            ("GET", f"/conversations/{conversation}", {}),
            ("PATCH", f"/conversations/{conversation}", {"json": {"title": "mine"}}),
            ("DELETE", f"/conversations/{conversation}", {}),
            ("GET", f"/collections/{secret}", {}),
            ("POST", "/collections", {"json": {"name": "fresh"}}),
            ("GET", f"/collections/{secret}/generations", {}),
            ("POST", f"/collections/{secret}/activate", {"json": {"generation": "1"}}),
            ("DELETE", f"/collections/{secret}", {}),
            ("GET", f"/documents?collection={secret}", {}),
            ("GET", f"/documents/{there}?collection={secret}", {}),
            ("GET", f"/documents/{there}/text?collection={secret}", {}),
            ("GET", f"/documents/{there}/content?collection={secret}", {}),
            ("GET", f"/documents/{there}/pages/1.png?collection={secret}", {}),
            ("DELETE", f"/documents/{there}?collection={secret}", {}),
            ("POST", "/documents", {"files": upload, "data": {"collection": secret}}),
            ("POST", "/documents", {"json": {"url": "https://example.org/", "collection": secret}}),
            ("PUT", f"/documents/{there}?collection={secret}", {"files": upload}),
            ("GET", f"/jobs/{job}", {}),
            ("GET", f"/jobs/{job}/events", {}),
            ("POST", f"/jobs/{job}/cancel", {}),
            ("POST", f"/jobs/{job}/retry", {}),
            ("POST", "/v1/chat/completions", {"json": completion(f"footnote/{secret}")}),
            ("GET", f"/v1/models/footnote/{secret}", {}),
            ("POST", "/feedback", {"json": {"trace_id": "a" * 32, "rating": "up", "collection": secret}}),
        ]
        for method, path, options in doors:
            answer = http.request(method, path, headers=key, **options)
            assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
            assert "third step" not in answer.text
            if not path.startswith("/v1"):
                assert answer.headers["content-type"] == "application/problem+json"
        assert http.post("/query", json=asked, headers={**key, **keyed}).status_code in {404, 422}
        for path in ("/collections", "/v1/models", "/jobs", "/conversations", "/feedback", "/documents"):
            listed = http.get(path, headers=key)
            assert listed.status_code == 200
            assert secret not in listed.text
        # the router looks at what there is
        routed = http.post("/query", json={"question": "Where is the treasure?", "mode": "router"}, headers=key)
        assert "third step" not in routed.text.replace("It is under the third step", "")
        assert {each["source"] for each in routed.json()["citations"]}.isdisjoint(SECRET)
        # and for whoever reaches it, it is all there
        assert http.get(f"/conversations/{conversation}", headers=every).json()["title"] != "mine"
        assert http.get(f"/documents/{there}", params={"collection": secret}, headers=every).status_code == 200
        assert http.get(f"/jobs/{job}", headers=every).json()["status"] != "cancelled"


def completion(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Where is the treasure?"}]}


@asynccontextmanager
async def speaking_mcp(http: httpx.Client, headers: dict[str, str]) -> AsyncIterator[Client]:
    async with (
        create_mcp_http_client(headers=headers) as carrying,
        Client(streamable_http_client(f"{str(http.base_url).removesuffix('/')}/mcp", http_client=carrying)) as client,
    ):
        yield client


async def test_mcp_and_openai_s_client_take_a_key(stack: Stack, secret: str) -> None:
    stack.fresh(default=Reply("Milada Novak built it [1]."))
    with serving(stack) as http:
        key = make(http, "query", collections=["default"])
        reader = make(http, "query", "documents:read", collections=["default"])
        async with speaking_mcp(http, key) as client:
            found = await client.call_tool("search", QUESTION)
            document = {"document_id": found.structured_content["results"][0]["document_id"]}
            assert (await client.call_tool("search", {**QUESTION, "collection": secret})).is_error
            listed = await client.call_tool("list_collections", {})
            assert [each["name"] for each in listed.structured_content["collections"]] == ["default"]
            refused = await client.call_tool("get_document", document)
            assert refused.is_error
            assert "documents:read" in refused.content[0].text
            with pytest.raises(Exception, match="documents:read"):
                await client.list_resources()
        async with speaking_mcp(http, reader) as client:
            assert not (await client.call_tool("get_document", document)).is_error
            assert "secret" not in str(await client.list_resources())
            there = f"footnote://secret/documents/{document['document_id']}"
            with pytest.raises(Exception, match="there is no collection"):
                await client.read_resource(there)
        plain = key["Authorization"].removeprefix("Bearer ")
        with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key=plain, max_retries=0) as client:
            answer = client.chat.completions.create(**completion("footnote/default"))
            assert answer.choices[0].message.content
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(**completion(f"footnote/{secret}"))
        with (
            openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="fn_wrong", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()


def test_tokens_of_an_identity_provider_are_taken_by_its_keys_in_a_file(stack: Stack, tmp_path: Path) -> None:
    issuer, file = Issuer(), tmp_path / "jwks.json"
    file.write_bytes(issuer.jwks("rsa"))
    auth = {
        "jwt_issuer": ISSUER,
        "jwt_audience": (AUDIENCE,),
        "jwt_jwks_file": file,
        "jwt_groups_claim": "realm_access.roles",
        "jwt_cooldown": 1,
        "public_url": "https://footnote.example",
    }
    with serving(stack, auth=auth) as http:
        token = bearer(issuer.token(realm_access={"roles": ["eng"]}))
        me = http.get("/me", headers=token).json()
        assert (me["subject"], me["groups"], me["scopes"], me["key_id"]) == ("ada", ["eng"], ["query"], None)
        assert http.post("/retrieve", json=QUESTION, headers=token).json()["results"]
        assert http.get("/documents", headers=token).status_code == 403
        assert http.get("/me", headers=bearer(issuer.token(aud="another"))).status_code == 401
        assert http.get("/me", headers=bearer(Issuer().token())).status_code == 401
        file.write_bytes(issuer.jwks("rsa", "ec"))  # the issuer gets another key
        until(lambda: http.get("/me", headers=bearer(issuer.token("ES256"))).status_code == 200)

        http.headers.clear()
        refused = http.post("/mcp", json={})
        assert refused.status_code == 401
        where = "https://footnote.example/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="{where}"' in refused.headers["www-authenticate"]
        described = http.get("/.well-known/oauth-protected-resource/mcp").json()
        assert described["resource"] == "https://footnote.example/mcp"
        assert described["authorization_servers"] == [ISSUER]
    with serving(stack) as http:
        assert http.get("/.well-known/oauth-protected-resource").status_code == 404
    file.write_bytes(b"<html>")
    done = start(stack, AUTH__JWT_ISSUER=ISSUER, AUTH__JWT_AUDIENCE=AUDIENCE, AUTH__JWT_JWKS_FILE=str(file))
    assert done.returncode == 2
    assert "JWT_JWKS_FILE" in done.stderr
