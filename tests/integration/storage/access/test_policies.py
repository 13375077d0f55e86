"""What the database itself enforces: policies on every shared table, and the role that statements run as."""

import re
from hashlib import sha256
from uuid import uuid4

import asyncpg
import pytest
from support.corpus import CHUNKING, IDENTITY, chunks, document, fill, make_collection
from support.sql import execute

from storage import app_role, schema_version
from storage.audit.sealing import seal
from storage.caller import Caller, acting_as
from storage.chat.conversations import ConversationCatalog
from storage.chat.feedback import FeedbackStore, NewFeedback
from storage.chat.idempotency import KeyStore
from storage.chat.turns import NewTurn, TurnStore
from storage.collections.collections import Collections
from storage.database import APP_ROLE, Database, owning
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import CollectionNotFound, ConversationNotFound, GenerationRetired, RoleTooStrong, StoreFailed
from storage.jobs.jobs import JobStore, NewJob
from storage.jobs.payloads import CatchUp
from storage.leases import Leases

WITHOUT_POLICY = {"alembic_version"}
"""Tables that belong to no tenant."""
ADDED_TO = {"audit", "audit_chain", "audit_pending"}
"""Tables whose rows nobody changes."""
ADA = Caller("public", "ada")
BOB = Caller("public", "bob")
ADMIN = Caller("public", "root", sees_all=True)
ELSEWHERE = Caller("other", "ada", sees_all=True)
ASKED = NewTurn(question="Why?", tokens=1, request_id="r", stream_id=None, trace_id=None)
_TABLES = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
        (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid)
    FROM pg_class c WHERE c.relnamespace = 'footnote'::regnamespace AND c.relkind IN ('r', 'p')"""


@pytest.fixture
def other(dsn):
    execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")


async def filled(database):
    """Put something into every shared table, as two people of one tenant."""
    generation = await make_collection(database)
    with acting_as(ADMIN):
        await fill(database, generation, {"one": ("apple", {})})
        await Originals(database).put_data(b"", content_hash=sha256().hexdigest())
    leases = Leases(database, seconds=60)
    with acting_as(ADA):
        turn = await TurnStore(database, leases=leases).begin(ASKED, collection="default")
        await KeyStore(database, leases=leases, hours=1).take("k", fingerprint="f", stream_id="s")
        await FeedbackStore(database).put(NewFeedback("0" * 32, "up"))
        async with database.transaction() as connection:
            await JobStore(database).submit(connection, NewJob(CatchUp(generation="1"), collection="default"))
    return generation, str(turn.conversation_id)


async def test_every_shared_table_has_a_policy_that_holds_for_its_owner_too(dsn):
    rows = [row for row in execute(dsn, _TABLES) if not row[0].startswith("data_generation_")]
    assert len(rows) > 20
    assert {row[0] for row in rows if not (row[1] and row[2] and row[3])} == WITHOUT_POLICY


async def test_tables_of_chunks_have_none_which_would_read_them_whole_for_each_word(database, dsn):
    await make_collection(database)
    rows = [row for row in execute(dsn, _TABLES) if row[0].startswith("data_generation_")]
    assert [(row[1], row[3]) for row in rows] == [(False, 0)]


async def test_raw_statements_without_a_caller_see_and_change_no_row(database, dsn):
    await filled(database)
    await seal(database)
    tables = [row[0] for row in execute(dsn, _TABLES) if not row[0].startswith("data_generation_")]
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"SET ROLE {APP_ROLE}")
    filled_ones = 0
    closed = {table for table in tables if re.fullmatch(r"audit_([0-9_]+|rest)", table)}
    assert len(closed) == 5
    for table in closed:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval(f"SELECT count(*) FROM footnote.{table}")
    for table in ADDED_TO:
        is_filled = execute(dsn, f"SELECT count(*) FROM footnote.{table}") != [(0,)]
        assert is_filled or table == "audit_pending"  # all are sealed
        assert await connection.fetchval(f"SELECT count(*) FROM footnote.{table}") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"DELETE FROM footnote.{table}")
    for table in set(tables) - WITHOUT_POLICY - ADDED_TO - closed:
        filled_ones += execute(dsn, f"SELECT count(*) FROM footnote.{table}")[0][0] > 0
        assert await connection.fetchval(f"SELECT count(*) FROM footnote.{table}") == 0, table
        assert await connection.execute(f"DELETE FROM footnote.{table}") == "DELETE 0", table
    assert filled_ones >= 11
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("INSERT INTO footnote.collections (tenant_id, name) VALUES ('public', 'x')")
    await connection.close()


async def test_the_role_owns_nothing_and_bypasses_nothing(database, dsn):
    await make_collection(database)
    (role,) = execute(
        dsn, "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcanlogin FROM pg_roles WHERE rolname = %s", APP_ROLE
    )
    assert role == (False, False, False, False)
    owned = "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = %s"
    assert execute(dsn, owned, APP_ROLE) == [(0,)]
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT current_user::text") == APP_ROLE
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute("CREATE TABLE footnote.mine (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute("ALTER TABLE footnote.documents DISABLE ROW LEVEL SECURITY")
    async with database.dedicated() as connection:
        assert await connection.fetchval("SELECT current_user::text") == APP_ROLE


async def test_the_role_comes_back_after_a_table_of_chunks_was_made_or_could_not_be(database):
    await make_collection(database)

    async def fail_as_owner():
        async with database.transaction() as connection, owning(connection):
            await connection.execute("SELECT 1/0")

    with pytest.raises(StoreFailed):
        await fail_as_owner()
    for _ in range(20):
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT current_user::text") == APP_ROLE


async def test_a_start_with_a_role_that_bypasses_policies_is_refused_with_what_to_do(dsn, settings, monkeypatch):
    monkeypatch.setattr("storage.database.APP_ROLE", "no_such_role")
    database = await Database.open(dsn, settings=settings.database)
    with pytest.raises(RoleTooStrong, match=r"superuser or bypasses.*python -m storage upgrade.*GRANT footnote_app"):
        await schema_version.check(database)
    await database.close()


async def test_an_upgrade_makes_the_role_without_a_superuser(postgres, settings):
    admin = postgres("postgres")
    name, database_name = f"owner_{uuid4().hex[:8]}", f"owned_{uuid4().hex[:8]}"
    execute(admin, f"CREATE ROLE {name} LOGIN CREATEROLE NOSUPERUSER")
    execute(admin, f"CREATE DATABASE {database_name} OWNER {name}")
    try:
        execute(postgres(database_name), "CREATE EXTENSION vector")
        # made by another database's administrator before: whoever has CREATEROLE alone is not let in
        url = postgres(database_name).replace("postgres@", f"{name}@")
        await schema_version.upgrade(url)
        database = await Database.open(url, settings=settings.database)
        await schema_version.check(database)  # a role without special rights is held by the policies as the owner, too
        generation = await make_collection(database)
        await fill(database, generation, {"one": ("apple", {})})
        with acting_as(ELSEWHERE), pytest.raises(CollectionNotFound):
            await Collections(database).active("default")
        execute(admin, f"GRANT {APP_ROLE} TO {name}")
        await schema_version.upgrade(url)
        await database.renew()
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT current_user::text") == APP_ROLE
            assert await connection.fetchval(f"SELECT count(*) FROM footnote.data_generation_{generation.id}") == 1
        await database.close()
    finally:
        execute(admin, f"DROP DATABASE {database_name} WITH (FORCE)")
        execute(admin, f"DROP ROLE {name}")


@pytest.mark.usefixtures("other")
async def test_without_a_caller_and_as_another_tenant_nothing_is_found(database):
    generation, conversation = await filled(database)
    with acting_as(ELSEWHERE):
        with pytest.raises(CollectionNotFound):
            await Collections(database).active("default")
        with pytest.raises(ConversationNotFound):
            await ConversationCatalog(database).get(conversation)
        assert await Documents(database, generation=generation).states(["one"]) == {}
        made = await Collections(database).create("default", embedding=IDENTITY, chunking=CHUNKING)
        assert (made.tenant_id, made.id != generation.id) == ("other", True)


@pytest.mark.usefixtures("other")
async def test_a_conversation_is_its_subject_s_and_the_administrator_s(database):
    _, conversation = await filled(database)
    catalog = ConversationCatalog(database)
    for who, sees in ((ADA, True), (ADMIN, True), (BOB, False), (ELSEWHERE, False)):
        with acting_as(who):
            listed = await catalog.list(limit=5, cursor=None)
            messages = await catalog.messages(conversation, turns=5, cursor=None)
            assert ([info.id for info in listed.items], bool(messages.items)) == ([conversation] * sees, sees), who
            assert len((await FeedbackStore(database).list(limit=5, cursor=None)).items) == sees
            assert len((await JobStore(database).list(limit=5)).items) == sees


async def test_one_idempotency_key_is_another_for_each_subject(database):
    keys = KeyStore(database, leases=Leases(database, seconds=60), hours=1)
    for who in (ADA, BOB, ADMIN):
        with acting_as(who):
            assert (await keys.take("k", fingerprint=who.subject, stream_id=who.subject)).mine
            await keys.keep("k", answer_json=f'"{who.subject}"')
    for who in (ADA, BOB, ADMIN):
        with acting_as(who):
            assert (await keys.take("k", fingerprint=who.subject, stream_id="s")).answer_json == f'"{who.subject}"'


@pytest.mark.usefixtures("other")
async def test_a_row_cannot_be_written_into_another_tenant(database, dsn):
    generation = await make_collection(database)
    made = document("one")
    with acting_as(ELSEWHERE), pytest.raises(GenerationRetired, match="takes no documents"):
        await Documents(database, generation=generation).write(made, chunks(made, "apple"), replaces=None)
    assert execute(dsn, "SELECT count(*) FROM footnote.documents") == [(0,)]


@pytest.mark.parametrize("odd", ["o'brien", 'qu"ote', "back\\slash", "br{ace},comma", "*", "+", "'; SET ROLE NONE; --"])
async def test_names_are_settings_and_nothing_else(database, odd):
    with acting_as(Caller("public", odd, groups=(odd, "g"))):
        async with database.connection() as connection:
            row = await connection.fetchrow(
                """SELECT current_setting('footnote.subject') AS subject, current_user::text AS role,
                   current_setting('footnote.access')::text[] AS access,
                   current_setting('footnote.sees_all', true) AS all"""
            )
    assert (row["subject"], row["role"]) == (odd, APP_ROLE)
    assert row["access"] == ["*", f"user:{odd}", f"group:{odd}", "group:g"]
    assert row["all"] in (None, "")


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
def test_a_name_that_the_database_cannot_hold_is_nobody(bad):
    for make in (lambda: Caller(bad, "s"), lambda: Caller("t", bad), lambda: Caller("t", "s", (bad,))):
        with pytest.raises(ValueError, match="NUL"):
            make()


async def test_settings_end_with_their_transaction(database):
    with acting_as(ADA):
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT current_setting('footnote.subject')") == "ada"
            held = connection
            async with held.transaction():
                await held.execute("SET LOCAL footnote.subject = 'eve'")
        async with database._borrowed() as connection:
            assert not await connection.fetchval("SELECT current_setting('footnote.subject', true)")
            assert await connection.fetchval("SELECT count(*) FROM footnote.tenants") == 0


def test_the_role_s_rights_are_given_anew_by_each_upgrade():
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES" in app_role.GRANTS
