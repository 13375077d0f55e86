import asyncio
from pathlib import Path
from uuid import uuid4

import asyncpg
import psycopg2
import pytest
from support.corpus import make_collection
from support.sql import execute

from storage import chunk_tables, schema_version
from storage.chat.feedback import FeedbackStore, NewFeedback
from storage.chat.turns import NewTurn, TurnAnswer, TurnStore
from storage.collections.collections import Collections
from storage.collections.dropping import drop_marked
from storage.database import Database
from storage.documents.catalog import DocumentCatalog
from storage.errors import SchemaMismatch, StoreUnavailable
from storage.jobs.jobs import JobError, JobStore
from storage.jobs.payloads import IndexDocument
from storage.jobs.runs import JobRuns
from storage.leases import Leases
from storage.search.search import ChunkSearch, SearchRequest


@pytest.fixture
def empty_dsn(postgres):
    connection = psycopg2.connect(postgres("postgres"))
    connection.autocommit = True
    connection.cursor().execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
    connection.cursor().execute("CREATE DATABASE empty")
    yield postgres("empty")
    connection.cursor().execute("DROP DATABASE empty WITH (FORCE)")
    connection.close()


async def test_an_upgrade_is_done_once_and_then_nothing(empty_dsn):
    assert await schema_version.upgrade(empty_dsn) == (None, schema_version.REVISION)
    assert await schema_version.upgrade(empty_dsn) == (schema_version.REVISION, schema_version.REVISION)


async def test_eight_upgrades_at_once_all_succeed(empty_dsn):
    outcomes = await asyncio.gather(*(schema_version.upgrade(empty_dsn) for _ in range(8)))
    assert [before for before, _ in outcomes].count(None) == 1
    assert {after for _, after in outcomes} == {schema_version.REVISION}


async def test_an_upgrade_waits_for_a_long_read_and_holds_up_nobody_behind_it(empty_dsn, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(schema_version, "REVISION", "0015")  # what comes after alters each table
        await schema_version.upgrade(empty_dsn)
    reading = await asyncpg.connect(empty_dsn)  # as pg_dump does
    other = await asyncpg.connect(empty_dsn, server_settings={"lock_timeout": "20s"})
    try:
        dump = reading.transaction()
        await dump.start()
        for (table,) in execute(empty_dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'footnote'"):
            await reading.execute(f"LOCK TABLE footnote.{table} IN ACCESS SHARE MODE")
        upgrading = asyncio.create_task(schema_version.upgrade(empty_dsn))
        held_up = 0
        for _ in range(20):
            held_up += await other.fetchval(HOLDS_UP_FOR_LONG)
            await other.fetchval("SELECT count(*) FROM footnote.documents")
            await asyncio.sleep(0.05)
        assert not upgrading.done()
        assert held_up == 0
        await dump.rollback()
        assert await upgrading == ("0015", schema_version.REVISION)
    finally:
        await reading.close()
        await other.close()


HOLDS_UP_FOR_LONG = """
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE mode = 'AccessExclusiveLock' AND NOT granted AND waitstart < clock_timestamp() - interval '3 s'"""


async def test_an_upgrade_that_never_gets_a_table_says_who_has_it(empty_dsn, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(schema_version, "REVISION", "0015")
        await schema_version.upgrade(empty_dsn)
    monkeypatch.setattr(schema_version, "TRIES", 2)
    reading = await asyncpg.connect(empty_dsn, server_settings={"application_name": "nightly dump"})
    async with reading.transaction():
        await reading.execute("LOCK TABLE footnote.documents, footnote.collections IN ACCESS SHARE MODE")
        with pytest.raises(StoreUnavailable, match="nightly dump"):
            await schema_version.upgrade(empty_dsn)
    assert (await schema_version.upgrade(empty_dsn))[1] == schema_version.REVISION
    await reading.close()


async def test_a_database_without_the_schema_is_refused_with_what_to_do(empty_dsn, settings):
    database = await Database.open(empty_dsn, settings=settings.database)
    with pytest.raises(SchemaMismatch, match=r"no Footnote schema yet.*python -m storage upgrade"):
        await schema_version.check(database)
    await database.close()


async def test_a_newer_schema_is_worked_above_as_far_back_as_its_migrations_serve(dsn, settings, monkeypatch):
    newest = schema_version.REVISION
    database = await Database.open(dsn, settings=settings.database)
    for older, serves_from in (("0018", "0018"), ("0018", "0019"), ("0018", None)):
        note = "NULL" if serves_from is None else f"'{schema_version.NOTE.format(newest, serves_from)}'"
        execute(dsn, f"COMMENT ON TABLE footnote.alembic_version IS {note}")
        monkeypatch.setattr(schema_version, "REVISION", older)
        if serves_from == older:
            found = await schema_version.check(database)
            assert str(found) == f"revision {newest}, newer than this Footnote's {older}, which it serves"
            assert await schema_version.upgrade(dsn) == (newest, newest)
        else:
            for refused in (schema_version.check(database), schema_version.upgrade(dsn)):
                with pytest.raises(SchemaMismatch, match=f"at revision {newest}, newer than this Footnote's {older}"):
                    await refused
    await database.close()


async def test_an_upgrade_notes_the_oldest_code_that_all_migrations_serve(dsn, settings):
    database = await Database.open(dsn, settings=settings.database)
    found = await schema_version.check(database)
    await database.close()
    assert found.serves_from is not None
    assert "0019" <= found.serves_from <= schema_version.REVISION


async def test_a_newer_schema_is_refused_by_server_and_upgrade(dsn, settings):
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute("UPDATE footnote.alembic_version SET version_num = '9999'")
    connection.close()
    database = await Database.open(dsn, settings=settings.database)
    with pytest.raises(SchemaMismatch, match="newer"):
        await schema_version.check(database)
    with pytest.raises(SchemaMismatch, match="newer"):
        await schema_version.upgrade(dsn)
    await database.close()


FIRST_REVISION = """
INSERT INTO footnote.collections (tenant_id, name, language, embedding_model, embedding_revision, embedding_fingerprint,
    dimension, normalized, chunk_tokens, chunk_overlap)
VALUES ('public', 'default', 'english', 'm', '1', 'f', 3, true, 256, 32);
INSERT INTO footnote.generations (tenant_id, collection_id, number, state, activated_at)
VALUES ('public', 1, 1, 'active', now());
INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
    pipeline_fingerprint, bytes, chunks)
VALUES ('public', 1, 'd', 'a', 'a', '{"year": 2024}', 'h', 'p', 14, 1);
"""
FIRST_CHUNK = """
CREATE TABLE footnote.data_generation_1 (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    generation_id bigint NOT NULL CHECK (generation_id = 1),
    document_id text NOT NULL,
    node_id varchar NOT NULL UNIQUE,
    chunk_index integer NOT NULL CHECK (chunk_index >= 0),
    page integer,
    start_char integer NOT NULL,
    end_char integer NOT NULL CHECK (end_char >= start_char),
    text varchar NOT NULL,
    metadata_ jsonb NOT NULL,
    embedding vector(3) NOT NULL,
    embedded_hash uuid,
    text_search_tsv tsvector GENERATED ALWAYS AS (
        to_tsvector('english'::regconfig,
            coalesce(metadata_ ->> 'title', '') || ' ' || coalesce(metadata_ ->> 'heading', '') || ' ' || text)
    ) STORED,
    UNIQUE (document_id, chunk_index),
    FOREIGN KEY (tenant_id, generation_id, document_id)
        REFERENCES footnote.documents (tenant_id, generation_id, id) ON DELETE CASCADE
);
CREATE INDEX data_generation_1_text ON footnote.data_generation_1 USING gin (text_search_tsv);
CREATE INDEX data_generation_1_embedding ON footnote.data_generation_1 USING hnsw (embedding vector_cosine_ops);
INSERT INTO footnote.data_generation_1 (tenant_id, generation_id, document_id, node_id, chunk_index, start_char,
    end_char, text, metadata_, embedding)
VALUES ('public', 1, 'd', 'n', 0, 0, 14, 'rain in spring', '{}', '[1,0,0]');
"""


async def test_an_index_of_the_first_revision_is_upgraded_with_all_that_is_in_it(empty_dsn, settings, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema_version, "REVISION", "0001")
        assert await schema_version.upgrade(empty_dsn) == (None, "0001")
    database = await Database.open(empty_dsn, settings=settings.database)
    with pytest.raises(SchemaMismatch, match=r"is at revision 0001.*python -m storage upgrade"):
        await schema_version.check(database)
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute(FIRST_REVISION)
        await connection.execute(FIRST_CHUNK)
    assert await schema_version.upgrade(empty_dsn) == ("0001", schema_version.REVISION)
    await schema_version.check(database)
    generation = await Collections(database).active("default")
    assert (generation.embedding.model, generation.chunking.tokens, generation.embedding.options) == ("m", 256, None)
    listed = await DocumentCatalog(database).list(collection="default", limit=5, cursor=None)
    assert [(item.source, item.chunks, item.metadata) for item in listed.items] == [("a", 1, {"year": 2024})]
    search = ChunkSearch(database, generation=generation, settings=settings.retrieval)
    for mode in ("vector", "keyword", "hybrid"):
        found = await search.search(SearchRequest(mode, limit=5, embedding=[1, 0, 0], text="raining"))
        assert [hit.text for hit in found] == ["rain in spring"]
    async with database.dedicated(as_owner=True) as connection:
        assert await chunk_tables.has_index(connection, 1)
        assert await connection.fetchval("SELECT chunks FROM footnote.lexicon WHERE lexeme = 'rain'") == 1
    await database.close()


async def test_tables_of_chunks_are_upgraded_beside_writers_one_after_the_other(empty_dsn, settings, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema_version, "REVISION", "0001")
        await schema_version.upgrade(empty_dsn)
    execute(empty_dsn, FIRST_REVISION)
    execute(empty_dsn, FIRST_CHUNK)
    with monkeypatch.context() as earlier:
        earlier.setattr(schema_version, "REVISION", "0009")
        await schema_version.upgrade(empty_dsn)
    database = await Database.open(empty_dsn, settings=settings.database)
    async with database.transaction() as writer:
        await writer.execute("UPDATE footnote.documents SET title = title")
        upgrading = asyncio.create_task(asyncio.to_thread(asyncio.run, schema_version.upgrade(empty_dsn)))
        async with database.dedicated(as_owner=True) as connection:
            while not await connection.fetchval("SELECT true FROM pg_locks WHERE NOT granted LIMIT 1"):
                assert not upgrading.done()
            # others get through between two attempts
            assert await connection.fetchval("SELECT count(*) FROM footnote.documents") == 1
            assert await connection.fetchval("SELECT version_num FROM footnote.alembic_version") == "0009"
    assert (await upgrading)[1] == schema_version.REVISION
    async with database.dedicated(as_owner=True) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE footnote.data_generation_1 SET tenant_id = 'other'")
        await connection.execute("DELETE FROM footnote.documents")
        assert await connection.fetchval("SELECT count(*) FROM footnote.data_generation_1") == 0
    async with database.transaction() as writer:
        await writer.execute("LOCK TABLE footnote.documents IN ROW EXCLUSIVE MODE")
        async with database.transaction() as connection:
            await Collections(database).delete(connection, "default")
        assert await drop_marked(database) == 0
    await database.close()


async def test_conversations_of_the_second_revision_are_upgraded_and_can_be_rated(empty_dsn, settings, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema_version, "REVISION", "0002")
        await schema_version.upgrade(empty_dsn)
    database = await Database.open(empty_dsn, settings=settings.database)
    turns, trace = TurnStore(database, leases=Leases(database, seconds=30)), "4bf92f3577b34da6a3ce929d0e0e4736"
    turn = await turns.begin(NewTurn("q", 1, "r", None, trace), collection="default")
    await turns.complete(turn, TurnAnswer("a", 1, None, "[]", "stop", "m", None, None, "{}", "1"))
    assert await schema_version.upgrade(empty_dsn) == ("0002", schema_version.REVISION)
    await schema_version.check(database)
    feedback = FeedbackStore(database)
    await feedback.put(NewFeedback(trace, "up"))
    listed = await feedback.list(limit=5, cursor=None)
    assert [(item.question, item.answer, item.rating) for item in listed.items] == [("q", "a", "up")]
    await database.close()


OLD_QUEUE = Path(__file__).with_name("procrastinate.sql")
SHAPE = """
SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'footnote'
UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'footnote'
UNION SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'footnote'::regnamespace
UNION SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'footnote'::regnamespace
UNION SELECT oid::regtype::text FROM pg_type WHERE typnamespace = 'footnote'::regnamespace ORDER BY 1"""


async def test_jobs_of_the_eighth_revision_are_upgraded_in_whatever_state_they_are(
    empty_dsn, dsn, settings, monkeypatch
):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema_version, "REVISION", "0008")
        await schema_version.upgrade(empty_dsn)
    execute(empty_dsn, OLD_QUEUE.read_text())
    assert await schema_version.upgrade(empty_dsn) == ("0008", schema_version.REVISION)
    assert execute(empty_dsn, SHAPE) == execute(dsn, SHAPE)  # as in a database that began at this revision
    database = await Database.open(empty_dsn, settings=settings.database)
    jobs, runs = JobStore(database), JobRuns(database)
    found = {job.document_id: job for job in (await jobs.list(limit=20)).items}
    assert {name: (job.status, job.attempts) for name, job in found.items()} == {
        "waiting": ("queued", 0),
        "urgent": ("queued", 0),
        "fetched": ("queued", 0),
        "retried": ("queued", 2),
        "running": ("running", 1),
        "dead": ("failed", 5),
        "cancelled": ("cancelled", 0),
        "done": ("succeeded", 1),
    }
    assert found["retried"].error == JobError("fetch-failed", "503")
    execute(  # in the dump all have one
        empty_dsn, """UPDATE footnote.jobs SET arguments = arguments || '{"source": "d"}' WHERE document_id = 'dead'"""
    )
    await jobs.retry(found["dead"].id)
    assert await runs.rescue(stalled_after=0, attempts=5, error=JobError("internal", "died")) == 1
    begun = []
    while run := await runs.claim(run_id=uuid4()):
        begun.append(run.job.document_id)
    assert begun == ["urgent", "waiting", "fetched", "running", "dead"]
    execute(empty_dsn, "UPDATE footnote.jobs SET next_try_at = now() WHERE document_id = 'retried'")
    last = (await runs.claim(run_id=uuid4())).job
    assert (last.document_id, last.attempts) == ("retried", 3)
    assert IndexDocument.of(last.arguments) == IndexDocument(content_hash="ab", name="a.md", source="a", revision=7)
    await database.close()


async def test_names_of_the_ninth_revision_with_their_accents_apart_are_found_by_what_is_looked_up(
    empty_dsn, settings, monkeypatch
):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema_version, "REVISION", "0009")
        await schema_version.upgrade(empty_dsn)
    database = await Database.open(empty_dsn, settings=settings.database)
    await make_collection(database)
    await database.close()
    apart, whole = "re\u0301sume\u0301.md", "r\u00e9sum\u00e9.md"
    given = {"one": apart, "two": f"both/{apart}", "three": f"both/{whole}", "four": "plain.md"}
    for name, source in given.items():
        execute(
            empty_dsn,
            """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
                   pipeline_fingerprint, bytes, chunks, revision)
               VALUES ('public', 1, %s, %s, 't', '{}', 'h', 'p', 1, 0, 1) RETURNING id""",
            name,
            source,
        )
    await schema_version.upgrade(empty_dsn)
    found = dict(execute(empty_dsn, "SELECT id, source FROM footnote.documents"))
    assert found == {**given, "one": whole}


def test_the_revision_in_code_is_the_newest_migration():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "storage/migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [schema_version.REVISION]
