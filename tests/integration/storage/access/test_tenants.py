"""Tenants: made, suspended, exported, deleted with all that is theirs and nothing of anybody else's."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import pytest
from support import programs
from support.corpus import CHUNKING, IDENTITY, chunks, document
from support.sql import execute

from storage.access.evidence import AnswerEvidence, EvidenceStore, Shown
from storage.access.export import TenantExport
from storage.access.tenants import Tenants
from storage.caller import Caller, acting_as
from storage.chat.feedback import FeedbackStore, NewFeedback
from storage.chat.turns import NewTurn, TurnStore
from storage.collections.collections import Collections
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import ExportRefused, InvalidTenant, TenantBusy, TenantExists, TenantNotFound
from storage.jobs.jobs import JobStore, NewJob
from storage.jobs.payloads import CatchUp
from storage.leases import Leases

TABLES = """SELECT table_name FROM information_schema.columns WHERE table_schema = 'footnote'
    AND column_name = 'tenant_id' AND table_name NOT LIKE 'data_generation_%%'"""


async def furnish(database, tenant, subject="ada"):
    """Put something of everything into a tenant."""
    with acting_as(Caller(tenant, subject, sees_all=True)):
        made = await Collections(database).create("default", embedding=IDENTITY, chunking=CHUNKING)
        digest = sha256(tenant.encode()).hexdigest()
        await Originals(database).put_data(tenant.encode(), content_hash=digest)
        new = replace(document(f"{tenant}.txt"), content_hash=digest, original=digest, readers=("group:hr",))
        await Documents(database, generation=made).write(new, chunks(new, f"apple of {tenant}"), replaces=None)
        leases = Leases(database, seconds=60)
        await TurnStore(database, leases=leases).begin(NewTurn("Why?", 1, "r", None), collection="default")
        await FeedbackStore(database).put(NewFeedback(uuid4().hex, "up"))
        async with database.transaction() as connection:
            await JobStore(database).submit(connection, NewJob(CatchUp(generation="1"), collection="default"))
    return made


def rows(dsn):
    return {
        name: execute(dsn, f"SELECT tenant_id, count(*) FROM footnote.{name} GROUP BY 1")
        for (name,) in execute(dsn, TABLES)
    }


async def test_deleting_a_tenant_removes_all_of_it_and_nothing_of_another(database, dsn):
    tenants = Tenants(database)
    for tenant in ("acme", "other"):
        await tenants.create(tenant)
    gone, kept = [await furnish(database, tenant) for tenant in ("acme", "other")]
    told = await tenants.delete("acme")
    assert {
        name: told[name] for name in ("documents", "chunks", "collections", "conversations", "turns")
    } == dict.fromkeys(("documents", "chunks", "collections", "conversations", "turns"), 1)
    assert (told["originals"], told["original_bytes"], told["jobs"] + told["feedback"]) == (1, 4, 1)
    found = rows(dsn)
    assert {name[:5] for name, each in found.items() for tenant, _ in each if tenant == "acme"} == {"audit"}
    assert all(dict(found[name]).get("other") == 1 for name in ("documents", "originals", "conversations", "jobs"))
    assert execute(dsn, f"SELECT to_regclass('footnote.data_generation_{gone.id}')::text") == [(None,)]
    assert execute(dsn, f"SELECT count(*) FROM footnote.data_generation_{kept.id}") == [(1,)]
    assert [info.id for info in await tenants.list()] == ["other", "public"]
    with pytest.raises(TenantNotFound):
        await tenants.delete("acme")
    await tenants.create("acme")  # the name is free
    assert [info.documents for info in await tenants.list()] == [0, 1, 0]


async def test_a_deletion_that_meets_a_reader_is_gone_on_with(database):
    tenants = Tenants(database)
    await tenants.create("acme")
    made = await furnish(database, "acme")
    with acting_as(Caller("acme", "ada", sees_all=True)):
        async with database.transaction() as reader:
            await reader.execute(f"SELECT FROM footnote.data_generation_{made.id}")
            with pytest.raises(TenantBusy):
                await tenants.delete("acme")
            assert await tenants.status("acme") == "deleting"
            with pytest.raises(TenantNotFound):
                await tenants.resume("acme")
    assert (await tenants.delete("acme"))["originals"] == 1
    assert await tenants.status("acme") is None


async def test_a_tenant_is_suspended_and_resumed(database):
    tenants = Tenants(database)
    await tenants.create("acme")
    await tenants.suspend("acme")
    assert await tenants.status("acme") == "suspended"
    await tenants.resume("acme")
    assert await tenants.status("acme") == "active"
    for act in (tenants.suspend, tenants.resume, tenants.delete):
        with pytest.raises(TenantNotFound):
            await act("nobody")


async def test_tenants_are_listed_page_by_page_and_found_by_name(database):
    tenants = Tenants(database)
    for tenant in ("b-1", "a_1", "a-1"):
        await tenants.create(tenant)
    await furnish(database, "b-1")
    found, cursor = [], None
    for _ in range(4):
        page = await tenants.page(limit=1, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
    assert cursor is None
    assert [each.id for each in found] == ["a-1", "a_1", "b-1", "public"]
    assert [(each.documents, each.collections, each.jobs) for each in found] == [(0, 0, 0)] * 2 + [(1, 1, 1), (0, 0, 0)]
    assert await tenants.find("b-1") == found[2]
    assert await tenants.find("none") is None


@pytest.mark.parametrize("name", ["", "Upper", "-x", "a b", "x" * 64, "ä", "a;b", "../x", "a\0b"])
async def test_a_name_that_cannot_be_used_is_refused(database, name):
    with pytest.raises(InvalidTenant):
        await Tenants(database).create(name)


async def test_a_name_is_taken_once_and_the_default_tenant_stays(database):
    tenants = Tenants(database)
    await tenants.create("acme")
    with pytest.raises(TenantExists):
        await tenants.create("acme")
    with pytest.raises(InvalidTenant, match="stays"):
        await tenants.delete("public")


async def test_an_export_has_every_document_with_its_bytes_and_of_no_other_tenant(database, tmp_path):
    tenants = Tenants(database)
    for tenant in ("acme", "other"):
        await tenants.create(tenant)
        await furnish(database, tenant)
    shown = Shown("acme.txt", ("n1",), (0,), cited=True)
    place = {"collection": "default", "generation": "1", "operation": "query", "outcome": "stop", "key_id": None}
    answers = [
        AnswerEvidence(id=uuid4(), at=datetime.now(UTC), tenant=tenant, subject="ada", shown=(shown,), **place)
        for tenant in ("acme", "other")
    ]
    await EvidenceStore(database).write(answers)
    told = await TenantExport(database, tenant="acme", folder=tmp_path / "out").write()
    assert told == {"documents": 1, "originals": 1, "answers": 1}
    (answer,) = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    assert (answer["id"], answer["document_id"], answer["chunks"]) == (str(answers[0].id), "acme.txt", [0])
    (line,) = [json.loads(line) for line in (tmp_path / "out/documents.jsonl").read_text().splitlines()]
    assert (line["source"], line["text"], line["readers"]) == ("acme.txt", "apple of acme", ["group:hr"])
    assert (tmp_path / "out" / line["original"]).read_bytes() == b"acme"
    with pytest.raises(ExportRefused):
        await TenantExport(database, tenant="acme", folder=tmp_path / "out").write()
    with pytest.raises(TenantNotFound):
        await TenantExport(database, tenant="nobody", folder=tmp_path / "none").write()


def test_the_command_makes_lists_exports_and_deletes(dsn, tmp_path):
    def run(*arguments):
        env = {**os.environ, "FOOTNOTE_DATABASE__URL": dsn, "FOOTNOTE_DATA_DIR": str(tmp_path)}
        return programs.run(["-m", "server", "tenants", *arguments], env=env)

    assert run("create", "acme").returncode == 0
    listed = run("--json", "list")
    assert [each["id"] for each in json.loads(listed.stdout)] == ["acme", "public"]
    assert json.loads(run("suspend", "acme", "--json").stdout) == {"tenant": "acme", "status": "suspended"}
    assert json.loads(run("export", "acme", str(tmp_path / "out"), "--json").stdout)["documents"] == 0
    assert json.loads(run("delete", "acme", "--json").stdout)["collections"] == 0
    refused = run("delete", "acme")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there is no tenant" in refused.stderr
