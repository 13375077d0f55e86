"""Chunks that were written before schema 0011, while they are brought to what they are found by now."""

import asyncio
from contextlib import AsyncExitStack

import psycopg2
import pytest
from support.corpus import document, fill, make_collection, vector

from config.settings import RetrievalSettings
from ingestion.jobs.handlers import open_handlers
from storage import __main__ as storage_program
from storage import chunk_tables, schema_version
from storage.database import Database
from storage.search.lexicon import Lexicon
from storage.search.rewording import Rewording
from storage.search.search import ChunkSearch, SearchRequest

TEXTS = {
    "markup": "a vector<quokka> grows by doubling",
    "accents": "la réplication des données",
    "plain": "nothing but words of a planner",
    "thai": "ประภาคาร สร้างขึ้น",
    "last": "the <hostname> comes last",
}
OF_BEFORE = {"vector": "markup", "réplication": "accents", "planner": "plain", "ประภาคาร": "thai", "comes last": "last"}
OF_NOW = OF_BEFORE | {"quokka": "markup", "replication": "accents", "ภาคาร": "thai", "hostname": "last"}


PAGES = """
ALTER TABLE footnote.documents ADD COLUMN pages jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN repeated jsonb NOT NULL DEFAULT '[]', ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]'
"""
READERS = """; ALTER TABLE footnote.documents ADD COLUMN access text[] NOT NULL DEFAULT '{+,*}';
ALTER TABLE footnote.collections ADD COLUMN readers text[] NOT NULL DEFAULT '{*}'"""
ATTACHMENTS = "; ALTER TABLE footnote.documents ADD COLUMN IF NOT EXISTS parent text;"


@pytest.fixture
def empty_dsn(postgres):
    connection = psycopg2.connect(postgres("postgres"))
    connection.autocommit = True
    connection.cursor().execute("DROP DATABASE IF EXISTS reworded WITH (FORCE)")
    connection.cursor().execute("CREATE DATABASE reworded")
    yield postgres("reworded")
    connection.cursor().execute("DROP DATABASE reworded WITH (FORCE)")
    connection.close()


@pytest.fixture
async def before(empty_dsn, settings, monkeypatch):
    """Return a database of the revision before, and a generation with texts in it."""
    with monkeypatch.context() as earlier:
        earlier.setattr(schema_version, "REVISION", "0009")
        await schema_version.upgrade(empty_dsn)
    database = await Database.open(empty_dsn, settings=settings.database)
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute(PAGES + READERS + ATTACHMENTS)  # the code that writes the texts is today's
    generation = await make_collection(database, language="simple")
    await fill(database, generation, {name: (text, {}) for name, text in TEXTS.items()})
    yield database, generation
    await database.close()


async def found(database, generation, question):
    search = ChunkSearch(database, generation=generation, settings=RetrievalSettings())
    hits = await search.search(SearchRequest("keyword", limit=5, text=question, embedding=vector("q")))
    return [name for hit in hits for name, text in TEXTS.items() if text == hit.text][:1]


async def all_found(database, generation, asked):
    return {question: await found(database, generation, question) for question in asked}


def right(asked):
    return {question: [name] for question, name in asked.items()}


async def versions(database, generation):
    async with database.dedicated(as_owner=True) as connection:
        rows = await connection.fetch(f"SELECT text, xmin::text FROM {chunk_tables.qualified(generation.id)}")
    return {row["text"]: row["xmin"] for row in rows}


async def test_the_upgrade_waits_for_no_reader_or_writer_of_chunks_and_nobody_waits_for_it(
    before, empty_dsn, monkeypatch
):
    monkeypatch.setattr(schema_version, "REVISION", "0014")  # the policies of 0016 need the tables for themselves
    database, generation = before
    table = chunk_tables.qualified(generation.id)
    async with AsyncExitStack() as stack:
        reading = await stack.enter_async_context(database.transaction())
        await reading.fetch(f"SELECT * FROM {table}")
        await reading.fetch("SELECT * FROM footnote.lexicons")
        writing = await stack.enter_async_context(database.transaction())
        await writing.execute(f"UPDATE {table} SET page = 1")
        await writing.execute("UPDATE footnote.lexicons SET chunks = chunks")
        async with asyncio.timeout(60):
            await schema_version.upgrade(empty_dsn)


async def test_old_chunks_are_found_as_before_until_they_are_written_anew_and_then_as_new_ones_are(before, empty_dsn):
    database, generation = before
    await schema_version.upgrade(empty_dsn)
    assert await Lexicon(database, generation=generation).keep_up()
    assert await all_found(database, generation, OF_BEFORE) == right(OF_BEFORE)
    old, rewording = await versions(database, generation), Rewording(database, batch=2)
    assert (await rewording.step(generation)).written == 2
    assert await all_found(database, generation, OF_BEFORE) == right(OF_BEFORE)  # of both kinds
    assert await rewording.run(rest=0) == 2  # it goes on where it was
    assert await all_found(database, generation, OF_NOW) == right(OF_NOW)
    now = await versions(database, generation)
    assert {text for text in now if now[text] == old[text]} == {TEXTS["plain"]}  # the others only are written
    async with database.dedicated(as_owner=True) as connection:
        assert await connection.fetchval("SELECT chunks FROM footnote.lexicon WHERE lexeme = 'quokka'") == 1
        assert await connection.fetchval("SELECT count(*) FROM footnote.rewordings") == 0
    assert await rewording.run() == 0


async def test_rows_that_somebody_else_writes_are_passed_over_and_written_when_they_are_free(before, empty_dsn):
    database, generation = before
    await schema_version.upgrade(empty_dsn)
    rewording = Rewording(database, batch=10)
    async with database.transaction() as connection:
        await connection.execute("DELETE FROM footnote.documents WHERE id = $1", document("last").id)
        table = chunk_tables.qualified(generation.id)
        await connection.execute(f"SELECT FROM {table} WHERE text = $1 FOR UPDATE", TEXTS["markup"])
        async with asyncio.timeout(20):
            step = await rewording.step(generation)
        assert (step.written, step.is_held_up) == (2, True)
        assert await all_found(database, generation, OF_BEFORE) == right(OF_BEFORE)
        working = asyncio.create_task(rewording.run(rest=0))
        await asyncio.sleep(0.1)
        assert not working.done()
    assert await working == 1
    assert await found(database, generation, "quokka") == ["markup"]


async def test_a_worker_does_it_beside_its_jobs(before, empty_dsn, settings):
    database, generation = before
    await schema_version.upgrade(empty_dsn)
    async with (
        open_handlers(database, settings=settings),
        asyncio.timeout(30),
        database.dedicated(as_owner=True) as connection,
    ):
        while await connection.fetchval("SELECT count(*) FROM footnote.rewordings"):  # noqa: ASYNC110 (a row)
            await asyncio.sleep(0.05)
    assert await found(database, generation, "quokka") == ["markup"]


async def test_a_command_does_it_where_there_is_no_worker(before, empty_dsn, settings, capsys):
    database, generation = before
    await schema_version.upgrade(empty_dsn)
    await storage_program._reword(empty_dsn, settings=settings)
    assert capsys.readouterr().out.endswith("4 chunks were reworded\n")
    assert await found(database, generation, "quokka") == ["markup"]


async def test_two_workers_share_no_generation_and_a_dropped_one_ends_the_work(before, empty_dsn):
    database, generation = before
    await schema_version.upgrade(empty_dsn)
    async with database.dedicated() as other:
        key = f"rewording {generation.id}"
        await other.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", key)
        assert await Rewording(database).run() == 0
    async with database.transaction() as connection:
        await chunk_tables.drop(connection, generation.id)
        await connection.execute("DELETE FROM footnote.generations WHERE id = $1", generation.id)
    assert (await Rewording(database).step(generation)).is_end
    assert await Rewording(database).run() == 0
