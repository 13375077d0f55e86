"""What the audit record says of each kind of change, and who may do what with the record."""

import json
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from support.corpus import CHUNKING, IDENTITY, LATEST, chunks, document, fill, make_collection
from support.sql import execute

from config.settings import RetrievalSettings
from storage import schema_version
from storage.access.keys import ApiKeys, NewApiKey
from storage.access.tenant_limits import TenantLimits
from storage.access.tenants import Tenants
from storage.audit.record import AuditFilter, AuditRecord, Refusal
from storage.audit.sealing import seal
from storage.audit.verification import verify
from storage.caller import LOCAL, Caller, acting_as, service_of
from storage.collections.collections import Collections
from storage.collections.dropping import drop_marked
from storage.collections.generations import Generations
from storage.database import APP_ROLE
from storage.documents.catalog import DocumentCatalog
from storage.documents.readers import DocumentReaders
from storage.documents.writes import Documents, NewAttachment
from storage.errors import InvalidCursor
from storage.origin import asked_by, coming_from
from storage.vector_store import ChunkStore

MARKER = "Zanzibar-7f3a"
"""What documents say, and the record must not."""


async def lines(database, action=None, *, tenant=None):
    """Return (action, object, before, after) of the lines so far, the oldest first."""
    found = await AuditRecord(database).list_any(tenant, AuditFilter(action=action), limit=1000)
    return [(line.action, line.object, line.before, line.after) for line in reversed(found.items)]


def members(states, *names):
    return [None if state is None else tuple(state[name] for name in names) for state in states]


async def test_keys_are_recorded_without_their_secrets(database, dsn):
    keys = ApiKeys(database)
    new = NewApiKey("abcdefghijkl", b"s" * 32, "desk", "public", "ada", ("query",), ("eng",), ("default",))
    await keys.create(new)
    await keys.note_used({"abcdefghijkl": (await keys.find("abcdefghijkl")).created_at})
    await keys.rotate("abcdefghijkl", secret_hash=b"t" * 32, overlap=timedelta(hours=1))
    await keys.revoke("abcdefghijkl")
    await keys.revoke("abcdefghijkl")  # it was, so nothing is done
    execute(dsn, "UPDATE footnote.api_keys SET scopes = '{admin}'")
    execute(dsn, "DELETE FROM footnote.api_keys")
    found = await lines(database)
    assert {line[1] for line in found} == {"key:abcdefghijkl"}
    assert [line[0] for line in found] == ["key.create", "key.rotate", "key.revoke", "key.update", "key.delete"]
    made, rotated, revoked, changed, deleted = found
    state = {"name": "desk", "subject": "ada", "groups": ["eng"], "scopes": ["query"], "collections": ["default"]}
    state["limits"] = {}
    assert made[2:] == (None, state)
    assert rotated[2] == {"rotated_at": None}
    assert rotated[3]["previous_until"] > rotated[3]["rotated_at"]
    assert (revoked[2], bool(revoked[3]["revoked_at"])) == ({"revoked_at": None}, True)
    assert changed[2:] == (state, {**state, "scopes": ["admin"]})
    assert deleted[2:] == ({**state, "scopes": ["admin"]}, None)
    stored = str(execute(dsn, "SELECT l.*::text FROM footnote.audit l"))
    assert (b"s" * 32).hex() not in stored
    assert (b"t" * 32).hex() not in stored


async def test_tenants_and_their_limits_are_recorded_and_outlive_them(database):
    tenants = Tenants(database)
    await tenants.create("acme")
    await tenants.suspend("acme")
    await tenants.resume("acme")
    with acting_as(service_of("acme")):
        await TenantLimits(database).write("acme", {"tenant_requests": 5, "tenant_usd_day": 0.5})
        await TenantLimits(database).write("acme", {"tenant_requests": None})
        await make_collection(database)
    await tenants.delete("acme")
    assert await lines(database, tenant="acme") == [
        ("tenant.create", "tenant:acme", None, {"status": "active"}),
        ("tenant.suspend", "tenant:acme", {"status": "active"}, {"status": "suspended"}),
        ("tenant.resume", "tenant:acme", {"status": "suspended"}, {"status": "active"}),
        ("limits.update", "tenant:acme", {}, {"tenant_requests": 5, "tenant_usd_day": 0.5}),
        ("limits.update", "tenant:acme", {"tenant_requests": 5, "tenant_usd_day": 0.5}, {"tenant_requests": None}),
        (
            "collection.create",
            "collection:default",
            None,
            {
                "readers": ["*"],
                "generation": "1",
                "embedding_model": "made-up",
                "language": "english",
                "chunk_tokens": 256,
            },
        ),
        ("tenant.delete", "tenant:acme", {"status": "active"}, {"status": "deleting"}),
        ("collection.delete", "collection:default", {"readers": ["*"]}, None),
        ("tenant.delete", "tenant:acme", {"status": "deleting"}, None),
    ]
    assert (await verify(database)).problems == []


async def test_collections_and_generations_are_recorded(database):
    active = await make_collection(database)
    await DocumentReaders(database).put_default("default", ["group:eng"])
    generations = Generations(database)
    for _ in range(2):
        async with generations.building(active):
            built = await generations.begin(
                active, embedding=IDENTITY, chunking=CHUNKING, fingerprint="f", resume=False
            )
        await generations.finish(built, report={})
    await generations.activate("default", "2")
    await generations.activate("default", "2")  # it is, so nothing is done
    await generations.activate("default", "1")
    await generations.discard("default", "3")
    async with database.transaction() as connection:
        await Collections(database).delete(connection, "default")
    await drop_marked(database)
    assert (await lines(database))[1:] == [
        (
            "collection.update",
            "collection:default",
            {"name": "default", "readers": ["*"]},
            {"name": "default", "readers": ["group:eng"]},
        ),
        ("generation.activate", "generation:default/2", {"generation": "1"}, {"generation": "2"}),
        ("generation.rollback", "generation:default/1", {"generation": "2"}, {"generation": "1"}),
        ("generation.drop", "generation:default/3", {"state": "ready"}, None),
        ("collection.delete", "collection:default", {"readers": ["group:eng"]}, None),
    ]


async def test_documents_are_recorded_without_a_word_of_them(database, dsn):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    first = replace(document("a", content=MARKER, metadata={"note": MARKER}), title=MARKER)
    name = f"document:default/{first.id}"
    await documents.write(first, chunks(first, MARKER, f"{MARKER} again"), replaces=None)
    stored = (await documents.by_ids([first.id]))[first.id]
    await documents.write(replace(first, revision=LATEST + 1), chunks(first, MARKER), replaces=stored)  # unchanged
    second = replace(document("a", content="other", revision=LATEST + 2), title=MARKER)
    await documents.write(second, chunks(second, MARKER), replaces=stored)
    await DocumentReaders(database).put(first.id, ["user:ada", "group:eng"], collection="default")
    await DocumentReaders(database).put(first.id, ["user:ada", "group:eng"], collection="default")  # they are
    await documents.delete(first.id)
    assert not await documents.delete(first.id)
    found = await lines(database, "document.") + await lines(database, "readers.")
    assert [line[:2] for line in found] == [
        ("document.create", name),
        ("document.update", name),
        ("document.delete", name),
        ("readers.update", name),
    ]
    made, changed, deleted, readers = found
    one = {"content_hash": first.content_hash, "bytes": len(MARKER), "chunks": 2, "readers": ["*"]}
    other = {"content_hash": second.content_hash, "bytes": 5, "chunks": 1}
    assert made[2:] == (None, {**one, "revision": LATEST})
    assert changed[2] == {**one, "revision": LATEST + 1}
    assert changed[3] == {**other, "readers": ["*"], "revision": LATEST + 2, "changed": ["content", "metadata"]}
    assert deleted[2] == {**other, "readers": ["user:ada", "group:eng"], "revision": LATEST + 2}
    assert deleted[3] is None
    assert readers[2:] == ({"readers": ["*"]}, {"readers": ["user:ada", "group:eng"]})
    assert MARKER not in str(execute(dsn, "SELECT l.*::text FROM footnote.audit l"))


async def test_what_is_built_is_recorded_when_it_answers_and_attachments_with_their_mail(database):
    active = await make_collection(database)
    mail, attached = document("mail"), replace(document("attached"), parent=document("mail").id)
    documents = Documents(database, generation=active)
    await documents.write(
        mail, chunks(mail, "x"), replaces=None, attachments=[NewAttachment(attached, chunks(attached, "y"))]
    )
    generations = Generations(database)
    async with generations.building(active):
        built = await generations.begin(active, embedding=IDENTITY, chunking=CHUNKING, fingerprint="f", resume=False)
    await fill(database, built, {"mail": ("x", {}), "more": ("z", {})})
    await generations.finish(built, report={})
    await generations.activate("default", built.name)
    await documents_gone(database, mail.id)
    assert [line[:2] for line in await lines(database)] == [
        ("collection.create", "collection:default"),
        ("document.create", f"document:default/{mail.id}"),
        ("generation.activate", "generation:default/2"),
        ("document.delete", f"document:default/{mail.id}"),
    ]


async def documents_gone(database, document_id):
    async with database.transaction() as connection:
        await DocumentCatalog(database).delete(connection, document_id, collection="default")


async def test_nodes_that_llamaindex_adds_and_deletes_are_recorded(database):
    generation = await make_collection(database)
    documents = await fill(database, generation, {"a": ("apple", {})})
    (made,) = (await documents.states(["a"])).values()
    node = chunks(document("a"), "apple")[0].node_id
    await ChunkStore(database, generation=generation, settings=RetrievalSettings()).adelete_nodes([node])
    found = await lines(database, "document.update")
    assert [line[1] for line in found] == [f"document:default/{made.id}"]
    assert members(found[0][2:], "chunks") == [(1,), (0,)]
    assert found[0][3]["changed"] == ["pipeline"]


# who


async def test_a_line_says_who_asked_from_where_and_with_what(database, dsn):
    ada = Caller("public", "ada")
    with coming_from("203.0.113.7", request_id="r-1"), acting_as(ada), asked_by(ada, key_id="abcdefghijkl"):
        await Tenants(database).create("acme")
    await Tenants(database).create("plain")
    execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('byhand')")
    found = await AuditRecord(database).list_any(None, AuditFilter(), limit=10)
    assert [
        (each.tenant, each.actor_tenant, each.subject, each.key, each.client, each.request_id) for each in found.items
    ] == [
        ("byhand", "", "database:postgres", None, None, None),
        ("plain", "", "system", None, None, None),
        ("acme", "public", "ada", "abcdefghijkl", "203.0.113.7", "r-1"),
    ]


@pytest.mark.parametrize("odd", ["x" * 1_000_000, "é" * 600, "'; DROP TABLE footnote.audit; --", '{"a": 1}', "\\u0000"])
async def test_odd_and_long_names_are_bounded_and_do_no_harm(database, odd):
    who = Caller("public", odd, sees_all=True)
    with acting_as(who), coming_from("9" * 1000, request_id="r" * 1000), asked_by(who, key_id="k" * 1000):
        await make_collection(database)
    ours = [odd if len(odd) < 500 else f"{odd[:64]}…"]
    (line,) = (await AuditRecord(database).list_any(None, AuditFilter(subject=odd), limit=10)).items
    assert line.subject.startswith(ours[0])
    assert len(json.dumps(line.members())) < 4000
    assert (await verify(database)).problems == []


async def test_a_document_with_a_very_long_id_and_many_readers_has_a_short_line(database):
    generation = await make_collection(database)
    long = replace(document("a"), id="d" * 512, readers=[f"user:{number}{'x' * 380}" for number in range(100)])
    documents = Documents(database, generation=generation)
    await documents.write(long, [], replaces=None)
    ((_, name, _, state),) = await lines(database, "document.create")
    assert (len(name) < 600, name.startswith("document:default/ddd")) == (True, True)
    assert sorted(state["readers"]) == ["bytes", "sha256"]


async def test_refusals_are_written_with_the_tenant_of_their_key_and_bounded(database):
    keys, record = ApiKeys(database), AuditRecord(database)
    await Tenants(database).create("acme")
    await keys.create(NewApiKey("abcdefghijkl", b"s" * 32, "desk", "acme", "ada", ("query",)))
    long = "x\0\ud800" * 400_000
    await record.note(
        [
            Refusal("login.fail", "login", "failure", key="abcdefghijkl", client="203.0.113.7", told={"count": 3}),
            Refusal("login.fail", "login", "failure", key="nosuchkey123"),
            Refusal("access.deny", long, "denied", tenant="acme", subject=long, client=long, request_id="r" * 999),
        ]
    )
    found = (await record.list_any(None, AuditFilter(action="login."), limit=10)).items
    assert {(line.tenant, line.key, line.outcome) for line in found} == {
        ("acme", "abcdefghijkl", "failure"),
        ("", "nosuchkey123", "failure"),
    }
    (line,) = (await record.list_any("acme", AuditFilter(action="access."), limit=10)).items
    assert len(json.dumps(line.members())) < 3000
    assert (await verify(database)).problems == []


# what may be done with it


async def test_a_tenant_s_auditor_sees_its_tenant_s_lines_alone(database):
    for name in ("acme", "other"):
        await Tenants(database).create(name)
    record = AuditRecord(database)
    for name in ("acme", "other"):
        with acting_as(Caller(name, "auditor")):
            page = await record.list(AuditFilter(), limit=10)
            assert [line.object for line in page.items] == [f"tenant:{name}"]
            async with database.transaction() as connection:
                assert await connection.fetchval("SELECT count(*) FROM footnote.audit") == 1
                for table in ("audit_chain", "audit_pending"):
                    assert await connection.fetchval(f"SELECT count(*) FROM footnote.{table}") == 0
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.execute(
                            """INSERT INTO footnote.audit (tenant_id, subject, actor_tenant, action, object, outcome)
                               VALUES ('third', 'x', 'x', 'key.create', 'x', 'success')"""
                        )


async def test_a_tenant_that_gets_the_name_of_a_deleted_one_does_not_get_its_record(database):
    tenants, record, auditor = Tenants(database), AuditRecord(database), Caller("acme", "auditor", sees_all=True)
    await tenants.create("acme")
    await tenants.delete("acme")
    with acting_as(auditor):
        assert (await record.list(AuditFilter(), limit=10)).items == ()
    await tenants.create("acme")
    with acting_as(auditor):
        assert [line.action for line in (await record.list(AuditFilter(), limit=10)).items] == ["tenant.create"]
        await make_collection(database)
        assert len((await record.list(AuditFilter(), limit=10)).items) == 2
    assert len(await lines(database, tenant="acme")) == 5


FORBIDDEN = [
    f"{verb} {table}"
    for table in ("footnote.audit", "footnote.audit_chain", "footnote.audit_rest", "{part}")
    for verb in ("TRUNCATE", "DELETE FROM", "DROP TABLE")
] + [
    "UPDATE footnote.audit SET subject = 'eve'",
    "UPDATE footnote.audit_chain SET sequence = 7",
    "UPDATE footnote.audit_pending SET at = now()",
    "TRUNCATE footnote.audit_pending",
    "UPDATE {part} SET subject = 'eve'",
    "SELECT * FROM {part}",
    "INSERT INTO {part} SELECT * FROM footnote.audit",
    "ALTER TABLE footnote.audit DISABLE TRIGGER ALL",
    "ALTER TABLE footnote.audit DETACH PARTITION {part}",
    "SELECT footnote.make_audit_partition('2030-01-01')",
    "DELETE FROM footnote.audit_pending",
    "INSERT INTO footnote.audit_pending VALUES (now(), gen_random_uuid())",
    "INSERT INTO footnote.audit_chain VALUES (9223372036854775807, now(), gen_random_uuid(), sha256('a'), sha256('b'))",
    """INSERT INTO footnote.audit (tenant_id, subject, actor_tenant, action, object, outcome)
        VALUES ('acme', 'eve', 'acme', 'key.create', 'key:x', 'success')""",
    """INSERT INTO footnote.audit (tenant_id, subject, actor_tenant, action, object, outcome)
        VALUES ('', 'eve', '', 'audit.prune', 'audit', 'success')""",
    "SELECT footnote.audit_note('audit.prune', '', 'audit', NULL, '{}')",
    """CREATE TEMP TABLE mine (at timestamptz, id uuid); CREATE TRIGGER mine AFTER INSERT ON mine
        FOR EACH ROW EXECUTE FUNCTION footnote.queue_audit()""",
    """CREATE TEMP TABLE keys (LIKE footnote.api_keys); CREATE TRIGGER mine AFTER INSERT ON keys
        FOR EACH ROW EXECUTE FUNCTION footnote.audit_api_key()""",
]

SPOOFED = [
    '[{"action": "audit.prune", "subject": "eve", "object": "audit", "outcome": "denied"}]',
    '[{"action": "key.create", "subject": "eve", "object": "key:x", "outcome": "failure"}]',
    '[{"action": "access.deny", "subject": "eve", "object": "x", "outcome": "success"}]',
    '[{"action": null}]',
]


@pytest.mark.parametrize("again", [False, True])
async def test_the_application_s_role_reads_the_record_and_can_neither_add_to_it_nor_change_it(database, dsn, again):
    if again:  # an upgrade gives the role its rights anew
        await schema_version.upgrade(dsn)
    await Tenants(database).create("acme")
    await seal(database)
    (part,) = execute(dsn, "SELECT tableoid::regclass::text FROM footnote.audit")[0]
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"SET ROLE {APP_ROLE}; SET footnote.system = 'on'; SET footnote.access = '{{+}}'")
    assert await connection.fetchval("SELECT count(*) FROM footnote.audit") == 1
    for statement in FORBIDDEN:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError)):
            await connection.execute(statement.replace("{part}", part))
    for refusals in SPOOFED:  # what it may have written: refusals, and nothing else
        with pytest.raises(asyncpg.NotNullViolationError):
            await connection.execute("SELECT footnote.audit_refusals($1::jsonb)", refusals)
    await connection.close()
    assert (await verify(database)).problems == []
    await Tenants(database).suspend("acme")
    assert await seal(database) == 1
    assert (await verify(database)).problems == []


async def test_what_looks_up_keys_is_not_for_everybody_to_call(dsn):
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE ROLE anybody; GRANT USAGE ON SCHEMA footnote TO anybody; SET ROLE anybody")
    try:
        for call in ("find_api_key('x')", "note_api_keys_used('{}', '{}')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT footnote.{call}")
        await connection.execute(f"RESET ROLE; SET ROLE {APP_ROLE}")
        for call in ("find_api_key('x')", "note_api_keys_used('{}', '{}')"):
            await connection.execute(f"SELECT footnote.{call}")
    finally:
        await connection.execute("RESET ROLE; DROP OWNED BY anybody; DROP ROLE anybody")
        await connection.close()


# reading


async def test_pages_have_each_line_once_and_filters_hold(database):
    tenants = Tenants(database)
    with acting_as(LOCAL), coming_from("x"), asked_by(Caller("public", "ada")):
        for number in range(7):
            await tenants.create(f"t{number}")
    with coming_from("x"), asked_by(Caller("public", "bob")):
        await tenants.suspend("t3")
    record, seen, cursor = AuditRecord(database), [], None
    while True:
        page = await record.list_any(None, AuditFilter(), limit=3, cursor=cursor)
        seen += [(line.action, line.object) for line in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [("tenant.suspend", "tenant:t3"), *(("tenant.create", f"tenant:t{n}") for n in range(6, -1, -1))]
    every = (await record.list_any(None, AuditFilter(), limit=100)).items

    async def found(**which):
        return [line.object for line in (await record.list_any(None, AuditFilter(**which), limit=100)).items]

    assert await found(subject="bob") == ["tenant:t3"]
    assert await found(action="tenant.s") == ["tenant:t3"]
    assert await found(action="tenant_") == []  # no pattern
    assert await found(since=every[1].at) == ["tenant:t3", "tenant:t6"]
    assert await found(until=every[6].at) == ["tenant:t0"]
    with pytest.raises(InvalidCursor):
        await record.list_any(None, AuditFilter(), limit=3, cursor="!")


async def test_an_export_has_every_line_once_with_its_place_in_the_chain(database, monkeypatch):
    monkeypatch.setattr("storage.audit.record.PAGE", 2)
    for number in range(5):
        await Tenants(database).create(f"t{number}")
    await seal(database)
    await Tenants(database).create("unsealed")
    exported = [line async for line in AuditRecord(database).export(None, AuditFilter())]
    assert [line["object"] for line in exported] == [*(f"tenant:t{n}" for n in range(5)), "tenant:unsealed"]
    assert [line["sequence"] for line in exported] == [1, 2, 3, 4, 5, None]
    assert (await verify(database, expected=exported[4]["hash"])).problems == []
    assert [line["tenant"] async for line in AuditRecord(database).export("t2", AuditFilter())] == ["t2"]
