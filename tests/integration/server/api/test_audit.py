"""The audit record of a real server with a worker: by HTTP, and by the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.programs import run
from support.sql import execute
from support.stack import Stack, StackClient, until

from server.auth.key_text import KeyText

BOOTSTRAP = "b" * 40
MARKER = "Zanzibar-7f3a"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[StackClient]:
    """Serve with keys required, and a worker."""
    env = {"AUTH__MODE": "required", "AUTH__BOOTSTRAP_KEY": BOOTSTRAP, "JOBS__WORKER": "always"}
    execute(stack.dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")
    with (
        stack.process(program=("-m", "server"), **env) as process,
        StackClient(base_url=process.url, timeout=60, headers=bearer(BOOTSTRAP)) as opened,
    ):
        yield opened


def command(stack: Stack, *arguments: str) -> Any:
    """Run a command of ``python -m server``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    env = {**clean, "FOOTNOTE_DATABASE__URL": stack.dsn, "FOOTNOTE_DATA_DIR": str(stack.data_dir)}
    return run(["-m", "server", *arguments], env=env)


def make(http: httpx.Client, *scopes: str, **members: Any) -> str:
    made = http.post("/keys", json={"name": "test", "scopes": list(scopes)} | members).raise_for_status()
    return str(made.json()["key"])


def lines(http: httpx.Client, key: str = BOOTSTRAP, **which: str) -> list[dict[str, Any]]:
    answer = http.get("/audit", params={"limit": 1000, **which}, headers=bearer(key))
    return list(answer.raise_for_status().json()["items"])


def test_what_is_done_over_http_is_in_the_record_with_who_did_it(stack: Stack, http: StackClient) -> None:
    key = make(http, "documents:write", "collections:write", "documents:read", subject="ada")
    key_id = key.split("_")[1]
    ada = bearer(key)
    http.post("/collections", json={"name": "box"}, headers={**ada, "X-Request-ID": "r-box"}).raise_for_status()
    form = {"collection": "box", "document_id": "d1"}
    file = {"file": ("note.txt", f"{MARKER} is an island.".encode())}
    job = http.post("/documents", data=form, files=file, headers={**ada, "X-Request-ID": "r-up"}).json()["job_id"]
    until(lambda: http.get(f"/jobs/{job}", headers=ada).json()["status"] == "succeeded")
    http.post("/query", json={"question": f"Where is {MARKER}?", "collection": "box"}).raise_for_status()
    readers = {"readers": ["user:ada"]}
    http.put("/documents/d1/readers", params={"collection": "box"}, json=readers, headers=ada).raise_for_status()
    http.delete("/documents/d1", params={"collection": "box"}, headers=ada).raise_for_status()
    http.delete("/collections/box", headers=ada).raise_for_status()

    told = [
        (line["action"], line["object"], line["client"], line["key"], line["request_id"])
        for line in reversed(lines(http, subject="ada"))
    ]
    requests = [line[4] for line in told]
    assert [line[:4] for line in told] == [
        ("collection.create", "collection:box", "127.0.0.1", key_id),
        ("document.create", "document:box/d1", "worker", None),
        ("readers.update", "document:box/d1", "127.0.0.1", key_id),
        ("document.delete", "document:box/d1", "127.0.0.1", key_id),
        ("collection.delete", "collection:box", "127.0.0.1", key_id),
    ]
    assert requests[:2] == ["r-box", "r-up"]
    (made,) = [line for line in lines(http, action="key.create") if line["object"] == f"key:{key_id}"]
    assert (made["subject"], made["key"], made["tenant"]) == ("bootstrap", "bootstrap", "public")
    assert made["after"]["scopes"] == ["documents:write", "collections:write", "documents:read"]
    whole = str(execute(stack.dsn, "SELECT l.*::text FROM footnote.audit l"))
    assert MARKER not in whole
    assert key.split("_")[2] not in whole


def test_refusals_are_in_the_record_once_with_a_count(stack: Stack, http: StackClient) -> None:
    key, admin, wanted = make(http, "query", subject="eve"), make(http, "admin"), {"name": "n", "scopes": ["tenants"]}
    for _ in range(7):
        assert http.delete("/documents/d1?x=secret", headers=bearer(key)).status_code == 403
    for _ in range(3):  # a service refuses, and not the gate
        assert http.post("/keys", json=wanted, headers=bearer(admin)).status_code == 403
    wrong = str(KeyText.new(key.split("_")[1]))
    for _ in range(5):
        assert http.get("/me", headers=bearer(wrong)).status_code == 401
    assert http.get("/me", headers={"Authorization": ""}).status_code == 401  # nothing was given
    found = until(lambda: lines(http, action="login.fail"))
    assert [(line["key"], line["client"], line["outcome"], line["after"]["count"]) for line in found] == [
        (key.split("_")[1], "127.0.0.1", "failure", 5)
    ]
    denied = {line["object"]: line for line in lines(http, action="access.deny")}
    gate = denied["DELETE /documents/d1"]
    assert (gate["subject"], gate["outcome"], gate["after"]) == (
        "eve",
        "denied",
        {"count": 7, "scope": "documents:write"},
    )
    assert denied["POST /keys"]["after"] == {"count": 3, "scope": "tenants"}
    assert wrong.split("_")[2] not in str(execute(stack.dsn, "SELECT l.*::text FROM footnote.audit l"))


def test_the_record_is_its_tenant_s_auditors_alone(http: StackClient) -> None:
    elsewhere = make(http, "audit", tenant="other", subject="olga")
    told = lines(http, elsewhere)
    assert {line["tenant"] for line in told} == {"other"}
    assert ("key.create", "public", "bootstrap") in {(x["action"], x["actor_tenant"], x["subject"]) for x in told}
    assert http.get("/audit", headers=bearer(make(http, "query"))).status_code == 403
    part = make(http, "audit", collections=["default"])
    assert http.get("/audit", headers=bearer(part)).status_code == 403


def test_the_record_names_what_is_there_for_whoever_may_read_it(http: StackClient) -> None:
    writer = make(http, "documents:write", "collections:write", "documents:read", subject="nora", name="nora's")
    http.post("/collections", json={"name": "names"}, headers=bearer(writer)).raise_for_status()
    for own_id, readers in (("all", ["*"]), ("hers", ["user:nora"])):
        form = {"collection": "names", "document_id": own_id, "title": f"For {own_id}", "readers": json.dumps(readers)}
        file = {"file": (f"{own_id}.txt", b"An island.")}
        job = http.post("/documents", data=form, files=file, headers=bearer(writer)).raise_for_status().json()["job_id"]
        until(lambda job=job: http.get(f"/jobs/{job}", headers=bearer(writer)).json()["status"] == "succeeded")

    def names(*scopes: str, **members: Any) -> dict[str, tuple[str | None, str | None]]:
        told = lines(http, make(http, "audit", *scopes, **members), subject="nora")
        return {line["object"]: (line["object_name"], line["key_name"]) for line in told}

    all_of_it = {
        "collection:names": (None, "nora's"),
        "document:names/all": ("For all", None),
        "document:names/hers": ("For hers", None),
    }
    assert names("admin") == all_of_it
    assert names(subject="olaf") == dict.fromkeys(all_of_it, (None, None))
    may_read = names("documents:read", subject="olaf")
    assert may_read == {
        "collection:names": (None, None),
        "document:names/all": ("For all", None),
        "document:names/hers": (None, None),
    }
    http.delete("/documents/all", params={"collection": "names"}, headers=bearer(writer)).raise_for_status()
    assert names("admin")["document:names/all"] == (None, None)


@pytest.mark.parametrize(
    ("which", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-01-01"}, "from"),
        ({"from": "0001-01-01T00:00:00+23:59"}, "from"),
        ({"to": "9999-12-31T23:59:59-23:59"}, "to"),
        ({"action": "key%"}, "action"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ""),
        ({"action": "KEY"}, "action"),
        ({"action": "a" * 100}, "action"),
        ({"subject": "a\0b"}, "subject"),
        ({"subject": ""}, "subject"),
        ({"limit": "0"}, "limit"),
        ({"cursor": "%%%"}, "cursor"),
        ({"tenant": "other"}, "tenant"),
    ],
)
def test_a_wrong_question_about_the_record_is_told(http: StackClient, which: dict[str, str], field: str) -> None:
    answer = http.get("/audit", params=which)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-request"
    assert field in answer.text


def test_lists_go_on_where_they_ended(http: StackClient) -> None:
    whole, seen, cursor = lines(http, to=lines(http)[0]["at"]), [], None
    while True:
        params = {"limit": "2", "to": whole[0]["at"]} | ({"cursor": cursor} if cursor else {})
        page = http.get("/audit", params=params).json()
        seen += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [line for line in whole if line["at"] < whole[0]["at"]]


def test_the_command_line_lists_checks_and_exports(stack: Stack) -> None:
    done = command(stack, "tenants", "create", "acme")
    assert done.returncode == 0, done.stderr
    command(stack, "limits", "--tenant", "acme", "--set", "tenant_requests=5")
    command(stack, "keys", "create", "--name", "desk", "--scopes", "query", "--tenant", "acme")
    command(stack, "tenants", "delete", "acme")
    listed = command(stack, "audit", "list", "--tenant", "acme", "--json")
    told = [json.loads(line) for line in reversed(listed.stdout.splitlines())]
    assert [line["action"] for line in told] == [
        "tenant.create",
        "limits.update",
        "key.create",
        "tenant.delete",
        "key.delete",
        "tenant.delete",
    ]
    assert {(line["subject"], line["actor_tenant"]) for line in told} == {("local", "public")}
    assert all(line["client"].startswith("command line (") for line in told)
    assert "tenant.create  tenant:acme  by local of public" in command(stack, "audit", "list", "--limit", "50").stdout

    unknown = command(stack, "audit", "list", "--tenant", "nosuch", "--json")
    assert (unknown.returncode, unknown.stdout) == (0, "")
    assert "no tenant 'nosuch'" in unknown.stderr

    checked = command(stack, "audit", "verify", "--json")
    verdict = json.loads(checked.stdout)
    assert (checked.returncode, verdict["problem_count"]) == (0, 0)
    assert command(stack, "audit", "verify", "--expect", verdict["head"]).returncode == 0
    assert command(stack, "audit", "verify", "--expect", "f" * 64).returncode == 1
    exported = [json.loads(line) for line in command(stack, "audit", "export").stdout.splitlines()]
    assert [line["hash"] for line in exported if line["sequence"] == verdict["sequence"]] == [verdict["head"]]
    execute(stack.dsn, "UPDATE footnote.audit SET subject = 'eve' WHERE object = 'tenant:acme'")
    found = command(stack, "audit", "verify")
    assert found.returncode == 1
    assert "was changed" in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--expect", "xyz"),
        ("list", "--from", "noon"),
        ("list", "--from", "0001-01-01T00:00+23:59"),
        ("export", "--tenant", "\udcff"),
        ("list", "--subject", "\udcff"),
        ("list", "--limit", "-1"),
        ("list", "--limit", "0"),
        ("list", "--limit", "9" * 30),
        (),
        ("forge",),
    ],
)
def test_wrong_arguments_are_told_in_a_line(stack: Stack, arguments: tuple[str, ...]) -> None:
    done = command(stack, "audit", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "usage:" in done.stderr
