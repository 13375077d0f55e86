import asyncio

import psycopg2
import pytest

from storage import chunk_tables, schema
from storage.collections import Collections
from storage.database import Database
from storage.document_catalog import DocumentCatalog
from storage.errors import SchemaMismatch
from storage.feedback import FeedbackStore, NewFeedback
from storage.leases import Leases
from storage.turns import NewTurn, TurnAnswer, TurnStore


@pytest.fixture
def empty_dsn(postgres):
    connection = psycopg2.connect(postgres("postgres"))
    connection.autocommit = True
    connection.cursor().execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
    connection.cursor().execute("CREATE DATABASE empty")
    yield postgres("empty")
    connection.cursor().execute("DROP DATABASE empty WITH (FORCE)")
    connection.close()


def test_an_upgrade_is_done_once_and_then_nothing(empty_dsn):
    assert schema.upgrade(empty_dsn) == (None, schema.REVISION)
    assert schema.upgrade(empty_dsn) == (schema.REVISION, schema.REVISION)


async def test_eight_upgrades_at_once_all_succeed(empty_dsn):
    outcomes = await asyncio.gather(*(asyncio.to_thread(schema.upgrade, empty_dsn) for _ in range(8)))
    assert [before for before, _ in outcomes].count(None) == 1
    assert {after for _, after in outcomes} == {schema.REVISION}


async def test_a_database_without_the_schema_is_refused_with_what_to_do(empty_dsn, settings):
    database = await Database.open(empty_dsn, settings=settings.database)
    with pytest.raises(SchemaMismatch, match=r"no Footnote schema yet.*python -m storage upgrade"):
        await schema.check(database)
    await database.close()


async def test_a_newer_schema_is_refused_by_server_and_upgrade(dsn, settings):
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute("UPDATE footnote.alembic_version SET version_num = '9999'")
    connection.close()
    database = await Database.open(dsn, settings=settings.database)
    with pytest.raises(SchemaMismatch, match="newer"):
        await schema.check(database)
    with pytest.raises(SchemaMismatch, match="newer"):
        schema.upgrade(dsn)
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
INSERT INTO footnote.data_generation_1 (tenant_id, generation_id, document_id, node_id, chunk_index, start_char,
    end_char, text, metadata_, embedding)
VALUES ('public', 1, 'd', 'n', 0, 0, 14, 'rain in spring', '{}', '[1,0,0]');
"""


async def test_an_index_of_the_first_revision_is_upgraded_with_all_that_is_in_it(empty_dsn, settings, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "REVISION", "0001")
        assert schema.upgrade(empty_dsn) == (None, "0001")
    database = await Database.open(empty_dsn, settings=settings.database)
    with pytest.raises(SchemaMismatch, match=r"is at revision 0001.*python -m storage upgrade"):
        await schema.check(database)
    async with database.transaction() as connection:
        await connection.execute(FIRST_REVISION)
        await chunk_tables.create(connection, 1, dimension=3, language="english")
        await connection.execute(FIRST_CHUNK)
    assert schema.upgrade(empty_dsn) == ("0001", schema.REVISION)
    await schema.check(database)
    generation = await Collections(database).active("default")
    assert (generation.embedding.model, generation.chunking.tokens, generation.embedding.options) == ("m", 256, None)
    listed = await DocumentCatalog(database).list(collection="default", limit=5, cursor=None)
    assert [(item.source, item.chunks, item.metadata) for item in listed.items] == [("a", 1, {"year": 2024})]
    await database.close()


async def test_conversations_of_the_second_revision_are_upgraded_and_can_be_rated(empty_dsn, settings, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "REVISION", "0002")
        schema.upgrade(empty_dsn)
    database = await Database.open(empty_dsn, settings=settings.database)
    turns, trace = TurnStore(database, leases=Leases(database, seconds=30)), "4bf92f3577b34da6a3ce929d0e0e4736"
    turn = await turns.begin(NewTurn("q", 1, "r", None, trace), collection="default")
    await turns.complete(turn, TurnAnswer("a", 1, None, "[]", "stop", "m", None, None, "{}", "1"))
    assert schema.upgrade(empty_dsn) == ("0002", schema.REVISION)
    await schema.check(database)
    feedback = FeedbackStore(database)
    await feedback.put(NewFeedback(trace, "up"))
    listed = await feedback.list(limit=5, cursor=None)
    assert [(item.question, item.answer, item.rating) for item in listed.items] == [("q", "a", "up")]
    await database.close()


def test_the_revision_in_code_is_the_newest_migration():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "storage/migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.REVISION]
