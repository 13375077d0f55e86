"""Transactions that meet: the order in which they lock, and what becomes of those that PostgreSQL ends."""

import ast
import asyncio
import hashlib
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from support.corpus import CHUNKING, IDENTITY, chunks, document, fill, make_collection
from support.sql import execute
from support.workers import submit

from ingestion.jobs.retries import Progress
from storage.chat.conversations import ConversationCatalog
from storage.chat.idempotency import KeyStore
from storage.chat.turns import NewTurn, TurnAnswer, TurnStore
from storage.collections.collections import Collections
from storage.collections.dropping import drop_marked
from storage.collections.generations import Generations
from storage.conflicts import ATTEMPTS, rerun_on_conflict
from storage.deletions import mark_deleted
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import JobLost, TransactionConflict
from storage.jobs.jobs import JobStore
from storage.jobs.payloads import IndexDocument
from storage.jobs.rows import NewJob
from storage.jobs.runs import JobRuns, Pulse
from storage.leases import Leases
from storage.search.lexicon import Lexicon
from storage.tracing import TracedConnection

ADR = Path(__file__).parents[3] / "docs/adr/0016-one-lock-order.md"
PATIENCE = 60


# reruns


async def two_rows(database):
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute("CREATE TABLE footnote.pairs (id integer PRIMARY KEY, n integer NOT NULL)")
        await connection.execute("INSERT INTO footnote.pairs VALUES (1, 0), (2, 0)")


async def test_transactions_that_deadlock_are_all_done_in_the_end(database, dsn):
    await two_rows(database)
    both, runs = asyncio.Barrier(2), defaultdict(int)

    @rerun_on_conflict
    async def add(first, second):
        runs[first] += 1
        async with database.transaction() as connection:
            await connection.execute("UPDATE footnote.pairs SET n = n + 1 WHERE id = $1", first)
            if runs[first] == 1:
                await asyncio.wait_for(both.wait(), PATIENCE)
            await connection.execute("UPDATE footnote.pairs SET n = n + 1 WHERE id = $1", second)

    await asyncio.gather(add(1, 2), add(2, 1))
    assert sum(runs.values()) == 3  # one of them twice
    assert execute(dsn, "SELECT n FROM footnote.pairs") == [(2,), (2,)]


async def test_a_serialization_failure_is_run_again_a_bounded_number_of_times(database, monkeypatch, dsn):
    monkeypatch.setattr("storage.conflicts.PAUSE", 0.0)
    await two_rows(database)
    runs = 0

    @rerun_on_conflict
    async def add(quiet_after):
        nonlocal runs
        runs += 1
        async with database.transaction(local={"transaction_isolation": "'repeatable read'"}) as connection:
            await connection.fetchval("SELECT n FROM footnote.pairs WHERE id = 1")
            if runs <= quiet_after:
                await asyncio.to_thread(execute, dsn, "UPDATE footnote.pairs SET n = n + 10 WHERE id = 1")
            await connection.execute("UPDATE footnote.pairs SET n = n + 1 WHERE id = 1")

    await add(2)
    assert (runs, execute(dsn, "SELECT n FROM footnote.pairs WHERE id = 1")) == (3, [(21,)])
    runs = 0
    with pytest.raises(TransactionConflict):
        await add(100)
    assert runs == ATTEMPTS


def test_whatever_is_a_transaction_of_its_own_is_run_again():
    found = 0
    for path in sorted(path for folder in ("storage", "ingestion", "server") for path in Path(folder).rglob("*.py")):
        for name, text, decorated in functions(path.read_text()):
            if re.search(r"\.transaction\((?!.*readonly=True)", text) and path.name != "database.py":
                found += 1
                assert decorated or name in HELPERS, f"{path}: {name} opens a transaction, and is not run again"
    assert found > 20


HELPERS = {"_write"}
"""Called by a function that is decorated, and by no other."""


def functions(source):
    """Yield the name, the own text and whether it is decorated, of each function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AsyncFunctionDef):
            decorated = any(getattr(each, "id", "") == "rerun_on_conflict" for each in node.decorator_list)
            yield node.name, ast.get_source_segment(source, node), decorated


# interleavings


async def test_a_document_is_deleted_while_its_job_is_about_to_write_it(database, monkeypatch):
    generation = await make_collection(database)
    documents, made = Documents(database, generation=generation), document("a")
    job = await submit(database, collection="default", document_id=made.id)
    runs, store = JobRuns(database), JobStore(database)
    run = await runs.claim(run_id=job.id)
    confirming, go, confirm = asyncio.Event(), asyncio.Event(), JobRuns.confirm

    async def late(self, connection, run):
        confirming.set()
        await go.wait()
        await confirm(self, connection, run)

    @rerun_on_conflict
    async def delete():
        async with database.transaction() as connection:
            await store.cancel_of_document(connection, "default", made.id)
            locked.set()
            await mark_deleted(connection, generation.collection_id, document_id=made.id)

    locked = asyncio.Event()
    monkeypatch.setattr(JobRuns, "confirm", late)
    with structlog.testing.capture_logs() as logs:
        writing = asyncio.create_task(
            documents.write(made, chunks(made, "one"), replaces=None, first=Progress(runs, run).confirm)
        )
        await asyncio.wait_for(confirming.wait(), PATIENCE)
        deleting = asyncio.create_task(delete())
        await asyncio.wait_for(locked.wait(), PATIENCE)
        await asyncio.wait({deleting}, timeout=0.2)  # it waits for the document, if the writer has it
        go.set()
        await asyncio.wait_for(deleting, PATIENCE)
        with pytest.raises(JobLost):
            await writing
    assert not [line for line in logs if line.get("error") == "DeadlockDetectedError"]
    assert await documents.by_ids([made.id]) == {}


# the order

LOCKS = {
    "bytes": r"(INTO|UPDATE|DELETE FROM) footnote\.originals",
    "a source's and a document's jobs": r"advisory.*'jobs ",
    "job rows": r"footnote\.jobs\b.*FOR (SHARE|UPDATE)|(INTO|UPDATE) footnote\.jobs",
    "flips": r"advisory.*'flip ",
    "collection": r"UPDATE footnote\.collections|footnote\.collections\b.* FOR SHARE",
    "generations": r"UPDATE footnote\.generations|footnote\.generations\b.* FOR |DELETE FROM footnote\.generations",
    "documents": r"advisory.*'(source|id) ",
    "document rows": r"footnote\.documents\b.* FOR UPDATE|(DELETE FROM|INTO|UPDATE) footnote\.documents",
    "chunks": r"(DELETE FROM|COPY|DROP TABLE IF EXISTS) (footnote\.)?data_generation",
    "tombstones": r"INTO footnote\.tombstones",
    "conversation": r"(INTO|UPDATE) footnote\.conversations|footnote\.conversations\b.* FOR ",
    "conversation's lease": r"footnote\.leases\b.*'conversation ",
    "turns": r"(INTO|UPDATE|DELETE FROM) footnote\.turns",
    "key's lease": r"footnote\.leases\b.*'key ",
    "key": r"(INTO|UPDATE|DELETE FROM) footnote\.idempotency_keys",
}


@pytest.fixture
def transactions(monkeypatch):
    """Record what each transaction locks, in order; one list of names a transaction."""
    recorded, open_ones = [], {}

    def note(connection, sql, values):
        statement = " ".join(sql.split())
        if statement.startswith("BEGIN"):
            open_ones[connection] = []
            recorded.append(open_ones[connection])
        if not connection.is_in_transaction() or connection not in open_ones:
            return
        told = f"{statement} {list(values)!r}"
        open_ones[connection] += [name for name, pattern in LOCKS.items() if re.search(pattern, told)]

    for method in ("execute", "fetch", "fetchrow", "fetchval", "copy_records_to_table"):
        real = getattr(TracedConnection, method)

        async def watched(self, sql, *values, _real=real, _method=method, **options):
            note(self, f"COPY {sql}" if _method.startswith("copy") else sql, values)
            return await _real(self, sql, *values, **options)

        monkeypatch.setattr(TracedConnection, method, watched)
    return recorded


async def test_every_transaction_locks_in_the_order_that_is_written_down(database, transactions, tmp_path):
    written = re.findall(r"^\d+\. \*\*(.+?)\*\*", ADR.read_text(), flags=re.MULTILINE)
    assert written == list(LOCKS)
    await everything(database, tmp_path)
    order = {name: place for place, name in enumerate(LOCKS)}
    for locked in transactions:
        first_times = list(dict.fromkeys(locked))
        assert first_times == sorted(first_times, key=order.__getitem__), first_times
    assert set().union(*transactions) == set(LOCKS)
    assert max(len(set(locked)) for locked in transactions) >= 6


async def everything(database, tmp_path):
    """Do all that takes more than one lock."""
    file = tmp_path / "f"
    file.write_bytes(b"x" * (1 << 20))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    generation = await make_collection(database)
    documents, runs, store = Documents(database, generation=generation), JobRuns(database), JobStore(database)
    await Originals(database).put(file, content_hash=digest)
    new = NewJob(
        IndexDocument(content_hash=digest, name="f", source="a", revision=1),
        collection="default",
        document_id=document("a").id,
    )
    async with database.transaction() as connection:  # as `DocumentService.submit` does
        await Originals(database).put_within(connection, file.open("rb"), content_hash=digest)
        job = await store.submit(connection, new)
    run = await runs.claim(run_id=job.id)
    made = replace(document("a"), original=digest)
    await documents.write(made, chunks(made, "one"), replaces=None, first=Progress(runs, run).confirm)
    await runs.try_later(run, pause=0, error=None)
    (state,) = (await documents.states(["a"])).values()
    again = document("a", content="2")
    await documents.write(again, chunks(again, "two"), replaces=state)
    await Lexicon(database, generation=generation).keep_up()
    generations = Generations(database)
    built = await generations.begin(
        generation, embedding=IDENTITY, chunking=CHUNKING, fingerprint="made up", resume=False
    )
    await generations.finish(built, report={})
    await generations.activate("default", built.name)
    await generations.prune("default", keep=0, spared_seconds=0)
    generation = await Collections(database).active("default")
    await fill(database, generation, {"b": ("text", {})})
    async with database.transaction() as connection:  # as `DocumentService.delete` does
        await store.cancel_of_document(connection, "default", document("b").id)
        await mark_deleted(connection, generation.collection_id, document_id=document("b").id)
    failing = await submit(database, collection="default", document_id="c")
    begun = await runs.claim(run_id=failing.id)
    await runs.fail(Pulse(begun, 0, None), error=None)
    await talk(database)
    async with database.transaction() as connection:  # as `CollectionService.delete` does
        await store.cancel_of_collection(connection, "default")
        await Collections(database).delete(connection, "default")
    assert await drop_marked(database) == 0


async def talk(database):
    leases = Leases(database, seconds=60)
    turns, keys = TurnStore(database, leases=leases), KeyStore(database, leases=leases, hours=1)
    asked, answer = NewTurn("q", 1, "r", None), TurnAnswer("a", 1, None, "[]", "stop", "m", None, None, "{}", "1")
    turn = await turns.begin(asked, collection="default")
    await keys.take("k", fingerprint="f", stream_id="s")

    async def within(connection):
        await keys.keep_within(connection, "k", answer_json="{}", conversation_id=turn.conversation_id)

    await turns.complete(turn, answer, within=within)
    turn = await turns.proceed(str(turn.conversation_id), asked)
    await turns.break_off(turn, state="failed", problem="internal")
    turn = await turns.proceed(str(turn.conversation_id), asked)
    await turns.withdraw(turn)
    await keys.take("other", fingerprint="f", stream_id="s")
    await keys.release("other")
    await ConversationCatalog(database).delete(str(turn.conversation_id))
