"""Collections are deleted, and made, beside transactions that write and read documents and do not end."""

import asyncio
import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg2
import pytest
from support.corpus import CHUNKING, IDENTITY, chunks, document, fill, make_collection
from support.stack import until
from support.workers import submit

from server.services.pinned_generations import PinnedGenerations
from storage import chunk_tables
from storage.collections.collections import Collections
from storage.collections.dropping import drop_marked
from storage.collections.generations import Generations
from storage.deletions import mark_deleted
from storage.documents.catalog import DocumentCatalog
from storage.documents.writes import Documents
from storage.errors import CollectionNotFound, GenerationRetired
from storage.jobs.jobs import JobStore
from storage.jobs.runs import JobRuns
from storage.search.lexicon import Lexicon

WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@contextlib.contextmanager
def held(dsn, *statements):
    """Hold a transaction open; yields its cursor."""
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            yield cursor
        connection.commit()
    finally:
        connection.close()


def generation_of(stack, name):
    ((found,),) = stack.rows(
        """SELECT g.id FROM footnote.generations g JOIN footnote.collections c ON c.id = g.collection_id
           WHERE c.name = %s AND g.state = 'active'""",
        name,
    )
    return found


def writing(generation):
    """Return what a transaction that writes a document has done when its chunks are inserted."""
    digest = hashlib.sha256(b"x").hexdigest()
    return (
        f"SELECT FROM footnote.generations WHERE id = {generation} FOR KEY SHARE",
        f"""INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
                pipeline_fingerprint, bytes, chunks)
            VALUES ('public', {generation}, 'held', 'held', 'held', '{{}}', '{digest}', 'p', 1, 1)""",
        f"LOCK TABLE footnote.data_generation_{generation} IN ROW EXCLUSIVE MODE",
    )


def test_collections_are_deleted_and_made_while_documents_are_being_written(stack):
    with stack.serve(database={"statement_timeout": 5}) as http:
        for name in ("empty", "busy"):
            http.post("/collections", json={"name": name}).raise_for_status()
        busy = generation_of(stack, "busy")
        with held(stack.dsn, *writing(generation_of(stack, "default"))), held(stack.dsn, *writing(busy)):
            for name in ("empty", "busy"):
                assert http.delete(f"/collections/{name}").status_code == 204
                assert http.get(f"/collections/{name}").status_code == 404
                assert http.delete(f"/collections/{name}").status_code == 404
                assert http.post("/retrieve", json={"question": "x", "collection": name}).status_code == 404
                assert http.post("/collections", json={"name": name}).status_code == 201
            assert http.get("/documents").status_code == 200
            assert http.get("/documents", params={"collection": "busy"}).json()["items"] == []
            assert http.post("/retrieve", json={"question": "bread"}).status_code == 200
            assert http.delete("/documents/never").status_code == 404
            assert stack.rows("SELECT to_regclass(%s)", f"footnote.data_generation_{busy}") != [(None,)]
        until(lambda: stack.rows("SELECT to_regclass(%s)", f"footnote.data_generation_{busy}") == [(None,)])
        until(lambda: stack.rows("SELECT 1 FROM footnote.collections WHERE deleted_at IS NOT NULL") == [])
        assert stack.rows("SELECT 1 FROM footnote.documents WHERE generation_id = %s", busy) == []


def test_a_server_that_has_not_heard_of_a_deletion_does_not_answer_either(stack, monkeypatch):
    async def deaf(_self):
        await asyncio.Event().wait()

    with stack.serve() as http:
        http.post("/collections", json={"name": "heard"}).raise_for_status()
        with monkeypatch.context() as patch:
            patch.setattr(PinnedGenerations, "_follow", deaf)
            with stack.serve() as other:
                asked = {"question": "bread", "collection": "heard", "min_score": 0}
                assert other.post("/retrieve", json=asked).status_code == 200
                with held(stack.dsn, f"SELECT FROM footnote.data_generation_{generation_of(stack, 'heard')}"):
                    assert http.delete("/collections/heard").status_code == 204
                    for path in ("/retrieve", "/query"):
                        assert other.post(path, json=asked).status_code == 404


def test_a_document_and_its_collection_are_deleted_at_once(stack):
    with stack.serve() as http:
        http.post("/collections", json={"name": "both"}).raise_for_status()
        generation = generation_of(stack, "both")
        with held(stack.dsn, *writing(generation)):
            pass
        # the deletion of the document waits in the midst of its transaction
        with held(stack.dsn, "SELECT FROM footnote.documents WHERE id = 'held' FOR UPDATE") as cursor:
            with until_waiting(stack, http, "/documents/held?collection=both") as deleting:
                assert http.delete("/collections/both").status_code == 204
                cursor.execute("ROLLBACK")
            assert deleting.result().status_code in {204, 404}  # whoever comes first
        until(lambda: stack.rows("SELECT 1 FROM footnote.collections WHERE deleted_at IS NOT NULL") == [])


@contextlib.contextmanager
def until_waiting(stack, http, path):
    """Send a deletion, and wait until its transaction waits for a lock; yields its future."""
    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(http.delete, path)
        until(lambda: stack.rows(WAITING))
        yield deleting


async def delete(database, name):
    async with database.transaction() as connection:
        await Collections(database).delete(connection, name)


async def exists(database, generation):
    async with database.dedicated(as_owner=True) as connection:
        return await connection.fetchval("SELECT to_regclass($1)", chunk_tables.qualified(generation.id)) is not None


async def test_a_table_that_is_being_read_is_dropped_later_and_keeps_no_new_reader_waiting(database):
    generation = await make_collection(database)
    await fill(database, generation, {"a": ("one", {})})
    async with database.transaction() as connection:
        await connection.fetch(f"SELECT FROM {chunk_tables.qualified(generation.id)}")
        await delete(database, "default")
        assert await drop_marked(database) == 2  # the collection, and its generation
        async with database.dedicated(as_owner=True) as other:
            assert await other.fetchval(f"SELECT count(*) FROM {chunk_tables.qualified(generation.id)}") == 1
        again = await make_collection(database)
        assert again.collection_id != generation.collection_id
    assert await drop_marked(database) == 0
    assert not await exists(database, generation)
    assert await exists(database, again)


async def test_what_a_killed_process_left_half_dropped_is_dropped(database):
    generation = await make_collection(database)
    await fill(database, generation, {"a": ("one", {})})
    await delete(database, "default")
    async with database.transaction() as connection:
        await chunk_tables.drop(connection, generation.id)
    await asyncio.gather(*(drop_marked(database) for _ in range(4)))
    assert await drop_marked(database) == 0
    async with database.dedicated(as_owner=True) as connection:
        for table in ("collections", "generations", "documents", "index_versions"):
            assert await connection.fetchval(f"SELECT count(*) FROM footnote.{table}") == 0


async def test_nothing_is_written_activated_or_built_in_a_deleted_collection(database):
    generation = await make_collection(database)
    generations, made = Generations(database), document("a")
    await delete(database, "default")
    with pytest.raises(GenerationRetired):
        await Documents(database, generation=generation).write(made, chunks(made, "one"), replaces=None)
    with pytest.raises(CollectionNotFound):
        await generations.activate("default", "1")
    with pytest.raises(CollectionNotFound):
        await generations.begin(generation, embedding=IDENTITY, chunking=CHUNKING, fingerprint="made up", resume=False)
    assert not await Lexicon(database, generation=generation).keep_up()
    assert not await Documents(database, generation=generation).delete(made.id)


@pytest.fixture
def jobs(database):
    """Submit a job of a document: ``await jobs("a")``."""

    async def submitted(name, **fields):
        return await submit(database, collection="default", document_id=name, **fields)

    return submitted


async def test_jobs_of_a_deleted_collection_are_cancelled_and_those_of_its_successor_are_not(database, jobs):
    await make_collection(database)
    waiting, at_work = await jobs("waiting"), await jobs("at work", priority=1)
    runs, store = JobRuns(database), JobStore(database)
    run = await runs.claim(run_id=uuid4())
    assert run.job.id == at_work.id
    async with database.transaction() as writer:
        await runs.confirm(writer, run)  # its document is being written
        async with database.transaction() as connection:
            assert await store.cancel_of_collection(connection, "default") == 1
            await Collections(database).delete(connection, "default")
        await make_collection(database)
        later = await jobs("waiting")
        assert (await store.get(waiting.id)).status == "cancelled"
    assert await drop_marked(database) == 0
    assert (await store.get(at_work.id)).status == "cancelled"
    assert (await store.get(later.id)).status == "queued"


async def test_a_deletion_that_comes_too_late_leaves_nothing_behind(database):
    generation = await make_collection(database)
    await fill(database, generation, {"a": ("one", {})})
    await delete(database, "default")
    assert await drop_marked(database) == 0
    async with database.transaction() as connection:
        assert await mark_deleted(connection, generation.collection_id, document_id="a") == []
    async with database.transaction() as connection:
        assert not await DocumentCatalog(database).delete(connection, "a", collection="default")
