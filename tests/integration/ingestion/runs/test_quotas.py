"""Runs of the command line and of schedules add nothing beyond what their tenant may store."""

from __future__ import annotations

import json

import pytest
from support.indexings import open_made_up
from support.sql import execute

from ingestion.inputs.inputs import Inputs
from ingestion.pipeline import room
from ingestion.runs.run import ingest, ingest_and_sync, reindex
from ingestion.schedule.scheduler import Scheduler
from ingestion.schedule.source_file import read_sources


@pytest.fixture
async def indexing(settings):
    async with open_made_up(settings) as opened:
        yield opened


def allow(indexing, **limits):
    execute(indexing.dsn, "UPDATE footnote.tenants SET limits = %s WHERE id = 'public'", json.dumps(limits))


def write(folder, *names, text="What {} says."):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.md").write_text(f"# {name}\n\n{text.format(name)}\n")


def stored(indexing):
    ((documents, chunks),) = execute(
        indexing.dsn,
        """SELECT count(*), coalesce(sum(d.chunks), 0)::int FROM footnote.documents d
           JOIN footnote.generations g ON g.id = d.generation_id AND g.state = 'active'""",
    )
    return documents, chunks


async def run(indexing, folder):
    return await ingest(indexing, Inputs("docs", [str(folder)]), watch=lambda _: None)


@pytest.mark.parametrize("stale", [0.0, 3600.0])
async def test_what_is_beyond_the_quota_fails_with_a_reason_and_the_rest_is_there(
    indexing, tmp_path, monkeypatch, stale
):
    monkeypatch.setattr(room, "COUNT_SECONDS", stale)
    allow(indexing, tenant_documents=7)
    write(tmp_path, *(f"n{number}" for number in range(12)))
    report = await run(indexing, tmp_path)
    assert (report.added, report.numbers["failed"], report.over_quota, report.exit_code) == (7, 5, 5, 1)
    assert stored(indexing)[0] == 7
    (reason,) = {entry.reason for entry in report.failed}
    assert reason.startswith("the tenant may store 7 documents, and has no room for more; delete some")
    assert report.as_json()["over_quota"] == 5
    there = [source for (source,) in execute(indexing.dsn, "SELECT source FROM footnote.documents")]
    for source in there:  # another version of what is there needs no room
        path = next(tmp_path.glob(f"**/{source.rsplit('/', 1)[-1]}"))
        path.write_text(path.read_text() + "\nMore of it.\n")
    again = await run(indexing, tmp_path)
    assert (again.changed, again.over_quota) == (7, 5)
    allow(indexing, tenant_documents=12)
    assert (await run(indexing, tmp_path)).added == 5
    assert stored(indexing)[0] == 12


async def test_chunks_are_bounded_as_for_uploads_by_the_document_that_reaches_the_bound(indexing, tmp_path):
    write(tmp_path, *(f"n{number}" for number in range(8)))
    await run(indexing, tmp_path)
    each = stored(indexing)[1] // 8
    execute(indexing.dsn, "DELETE FROM footnote.documents")
    allow(indexing, tenant_chunks=3 * each - 1 if each > 1 else 3)
    report = await run(indexing, tmp_path)
    assert (report.added, report.over_quota) == (3, 5)
    assert "may store" in report.failed[0].reason
    assert "chunks" in report.failed[0].reason


async def test_a_sync_makes_room_for_what_has_come_in_place_of_what_is_gone(indexing, tmp_path):
    allow(indexing, tenant_documents=4)
    write(tmp_path, "a", "b", "c", "d")
    inputs = Inputs("docs", [str(tmp_path)])
    await ingest_and_sync(indexing, inputs, force=True, watch=lambda _: None)
    for name in "ab":
        (tmp_path / f"{name}.md").unlink()
    write(tmp_path, "x", "y")
    first = await ingest_and_sync(indexing, inputs, force=True, watch=lambda _: None)
    assert (first.report.over_quota, first.report.deleted) == (2, 2)
    second = await ingest_and_sync(indexing, inputs, force=True, watch=lambda _: None)
    assert (second.report.added, second.report.over_quota) == (2, 0)


async def test_another_generation_of_the_same_documents_takes_no_room_and_new_ones_do(indexing, tmp_path):
    allow(indexing, tenant_documents=5)
    write(tmp_path, "a", "b", "c")
    await run(indexing, tmp_path)
    write(tmp_path, "d", "e", "f", "g")
    options = {"resume": False, "activate": "always", "golden": None, "force": True, "watch": lambda _: None}
    outcome = await reindex(indexing, Inputs("docs", [str(tmp_path)]), **options)
    assert (outcome.activated, outcome.report.over_quota) == (True, 2)
    assert stored(indexing)[0] == 5


async def test_a_schedule_says_what_found_no_room(indexing, tmp_path):
    allow(indexing, tenant_documents=1)
    write(tmp_path / "in", "a", "b")
    (tmp_path / "sources.yaml").write_text(
        "sources:\n  - {name: one, collection: docs, path: in, base: in, schedule: every 6h}\n"
    )
    scheduler = Scheduler(indexing, read_sources(tmp_path / "sources.yaml"), watch=lambda _: None, progress=None)
    outcome = await scheduler.run()
    assert (outcome.sources[0].state, outcome.exit_code) == ("failed", 1)
    assert "the tenant may store 1 documents" in outcome.as_text()
    assert stored(indexing)[0] == 1
