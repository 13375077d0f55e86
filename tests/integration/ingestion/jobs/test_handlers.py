"""The handlers of jobs, over real readers and a real database: what a job that was accepted may no longer do."""

import hashlib
from contextlib import AsyncExitStack

from support.indexings import open_made_up
from support.workers import ended, submit, until, working

from ingestion.inputs.inputs import Inputs
from ingestion.jobs import handlers
from ingestion.jobs.handlers import Handlers, open_handlers
from ingestion.runs.run import ingest
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.jobs.jobs import JobStore
from storage.jobs.payloads import IndexDocument


async def test_a_job_whose_source_another_document_got_fails_and_takes_nothing(settings, database, tmp_path):
    path = tmp_path / "a.md"
    path.write_text("# Mine\n\nThe file.")
    upload = tmp_path / "upload"
    upload.write_text("# Yours\n\nThe upload.")
    digest = hashlib.sha256(upload.read_bytes()).hexdigest()
    async with open_made_up(settings) as indexing, AsyncExitStack() as stack:
        await ingest(indexing, Inputs("docs", [str(path)], base=tmp_path), watch=lambda _: None)
        documents = Documents(database, generation=await indexing.collections.active("docs"))
        before = await documents.states(["a.md"])
        await Originals(database).put(upload, content_hash=digest)
        payload = IndexDocument(
            source="a.md", revision=await documents.next_revision(), content_hash=digest, name="upload.md"
        )
        job = await submit(
            database, kind=payload.kind, arguments=payload.arguments(), collection="docs", document_id="yours"
        )
        async with working(settings, database, Handlers(indexing, settings=settings, stack=stack).mapping):
            job = await ended(database, job.id)
            assert (job.status, job.error.name, job.attempts) == ("failed", "already-exists", 1)
            assert before["a.md"].id in job.error.detail
            job = await ended(database, (await JobStore(database).retry(job.id)).id)  # nor a worker that tries again
            assert (job.status, job.error.name) == ("failed", "already-exists")
        assert await documents.states(["a.md"]) == before


async def test_a_chore_that_fails_keeps_no_other_from_its_work(settings, database, monkeypatch):
    monkeypatch.setattr(handlers, "TIDY_SECONDS", 0.05)
    async with database.dedicated(as_owner=True) as connection:
        collection = await connection.fetchval(
            "INSERT INTO footnote.collections (tenant_id, name) VALUES ('public', 'docs') RETURNING id"
        )
        await connection.execute(
            """INSERT INTO footnote.tombstones (collection_id, document_id, source, revision, deleted_at)
               VALUES ($1, 'gone', 'gone.md', 1, now() - interval '1 year')""",
            collection,
        )
        await connection.execute("ALTER TABLE footnote.originals RENAME TO broken")  # the first chore's
        async with open_handlers(database, settings=settings):
            await until(lambda: connection.fetchval("SELECT NOT EXISTS (SELECT FROM footnote.tombstones)"))
