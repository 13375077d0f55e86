"""Files that are gone: their documents are deleted where that is asked for, and kept where that may be an accident."""

import os
import shutil
from pathlib import Path

import pytest
from support.corpus import document
from support.indexings import open_made_up
from support.sql import execute

from config.settings import IngestionSettings
from ingestion.dry_run.commands import plan
from ingestion.inputs.inputs import Inputs
from ingestion.pipeline.report import DELETES_GONE
from ingestion.runs.run import ingest, ingest_and_sync, reindex
from ingestion.runs.sync import FLOOR, Sync, SyncRefused, require_folders
from storage.documents.catalog import DocumentCatalog
from storage.documents.writes import Documents


@pytest.fixture
async def indexing(settings):
    async with open_made_up(settings) as opened:
        yield opened


def write(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.md").write_text(f"# {name}\n\nWhat {name} says.\n")


def inputs(*paths, base=None, **options):
    return Inputs("docs", [str(path) for path in paths], base=base, **options)


async def sync(indexing, *paths, force=False, base=None, **options):
    return await ingest_and_sync(indexing, inputs(*paths, base=base, **options), force=force, watch=lambda _: None)


async def sources(indexing):
    listed = await DocumentCatalog(indexing.database).list(collection="docs", limit=500)
    return {item.source: item.id for item in listed.items}


@pytest.mark.parametrize(("removed", "told"), [((), None), (("b",), "1 document is"), (("a", "b"), "2 documents are")])
async def test_a_run_without_sync_names_the_documents_that_have_no_file_any_more(indexing, tmp_path, removed, told):
    write(tmp_path / "one", "a", "b", "c")
    write(tmp_path / "other", "z")
    await sync(indexing, tmp_path, base=tmp_path)
    for name in removed:
        (tmp_path / "one" / f"{name}.md").unlink()
    (tmp_path / "other/z.md").unlink()  # of a folder that is not named
    report = await ingest(indexing, inputs(tmp_path / "one", base=tmp_path), watch=lambda _: None)
    assert (report.gone, report.exit_code) == (len(removed), 0)
    said = f"{told} still found though the file is gone; {DELETES_GONE}"
    named = [f"one/{name}.md" for name in removed]
    told_lines = [said, *(f"  gone {name}" for name in named)] if told else []
    assert report.as_text().splitlines()[1:] == told_lines
    assert report.as_json()["gone_sources"] == named
    assert len(await sources(indexing)) == 4


async def test_a_document_whose_file_is_gone_is_deleted_and_counted(indexing, tmp_path):
    write(tmp_path, "a", "b", "c")
    await sync(indexing, tmp_path, base=tmp_path)
    (tmp_path / "b.md").unlink()
    outcome = await sync(indexing, tmp_path, base=tmp_path)
    assert (outcome.report.deleted, outcome.report.unchanged, outcome.exit_code) == (1, 2, 0)
    assert set(await sources(indexing)) == {"a.md", "c.md"}
    assert outcome.as_json()["documents"]["deleted"] == 1


async def test_a_second_run_names_what_is_not_as_before_and_the_first_one_nothing(indexing, tmp_path):
    write(tmp_path, "a", "b", "c", "d")
    first = await sync(indexing, tmp_path, base=tmp_path)
    assert first.as_text().startswith("docs: documents: 4 added\n4 chunks written")
    assert {each["source"] for each in first.as_json()["changes"]["added"]} == {"a.md", "b.md", "c.md", "d.md"}
    (tmp_path / "a.md").write_text("# a\n\nAnother text.\n")
    (tmp_path / "b.md").rename(tmp_path / "z.md")
    (tmp_path / "c.md").unlink()
    write(tmp_path, "n")
    again = await sync(indexing, tmp_path, base=tmp_path)
    named = [line for line in again.as_text().splitlines() if line.startswith("  ")]
    assert named == ["  added n.md", "  changed a.md", "  moved b.md → z.md", "  deleted c.md"]
    assert again.as_json()["changes"] == {
        "added": [{"source": "n.md"}],
        "changed": [{"source": "a.md"}],
        "moved": [{"source": "z.md", "before": "b.md"}],
        "deleted": [{"source": "c.md"}],
    }


async def test_people_are_shown_twenty_documents_of_a_change_and_machines_all(indexing, tmp_path):
    write(tmp_path, "a")
    await sync(indexing, tmp_path, base=tmp_path)
    write(tmp_path, *(f"n{number}" for number in range(23)))
    outcome = await sync(indexing, tmp_path, base=tmp_path)
    named = [line for line in outcome.as_text().splitlines() if line.startswith("  ")]
    assert named == [*(f"  added n{number}.md" for number in range(20)), "  … and 3 more added"]
    assert len(outcome.as_json()["changes"]["added"]) == 23


async def test_without_sync_nothing_is_deleted(indexing, tmp_path):
    write(tmp_path, "a", "b")
    await ingest(indexing, inputs(tmp_path), watch=lambda _: None)
    (tmp_path / "b.md").unlink()
    await ingest(indexing, inputs(tmp_path), watch=lambda _: None)
    assert len(await sources(indexing)) == 2


async def test_a_moved_file_keeps_its_document(indexing, tmp_path):
    write(tmp_path, "a", "b")
    await sync(indexing, tmp_path, base=tmp_path)
    before = await sources(indexing)
    (tmp_path / "new").mkdir()
    (tmp_path / "a.md").rename(tmp_path / "new" / "moved.md")
    outcome = await sync(indexing, tmp_path, base=tmp_path)
    assert (outcome.report.moved, outcome.report.deleted, outcome.report.added) == (1, 0, 0)
    assert (await sources(indexing))["new/moved.md"] == before["a.md"]


async def test_documents_of_other_folders_and_those_without_a_file_stay(indexing, tmp_path):
    write(tmp_path / "here", "a", "b")
    write(tmp_path / "there", "c")
    await ingest(indexing, inputs(tmp_path / "here", tmp_path / "there"), watch=lambda _: None)
    generation = await indexing.collections.active("docs")
    await Documents(indexing.database, generation=generation).write(document("uploaded"), [], replaces=None)
    (tmp_path / "there" / "c.md").unlink()
    (tmp_path / "here" / "b.md").unlink()
    outcome = await sync(indexing, tmp_path / "here")
    assert outcome.report.deleted == 1
    assert {Path(source).name for source in await sources(indexing)} == {"a.md", "c.md", "uploaded"}


async def test_a_base_that_moved_to_another_machine_is_followed(indexing, tmp_path):
    write(tmp_path / "old", "a", "b", "c")
    await sync(indexing, tmp_path / "old", base=tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "b.md").unlink()
    outcome = await sync(indexing, tmp_path / "new", base=tmp_path / "new")
    assert (outcome.report.deleted, outcome.exit_code) == (1, 0)
    assert set(await sources(indexing)) == {"a.md", "c.md"}


async def test_what_is_deleted_is_gone_from_every_generation(indexing, tmp_path):
    write(tmp_path, "a", "b")
    await sync(indexing, tmp_path, base=tmp_path)
    await reindex(
        indexing, inputs(tmp_path, base=tmp_path), resume=False, activate="never", golden=None, force=False,
        watch=lambda _: None,
    )  # fmt: skip
    (tmp_path / "b.md").unlink()
    await sync(indexing, tmp_path, base=tmp_path)
    left = execute(indexing.dsn, "SELECT source, generation_id FROM footnote.documents ORDER BY 2")
    assert [source for source, _ in left] == ["a.md", "a.md"]


async def test_a_sync_with_a_reindex_follows_moves_though_the_build_is_not_activated(indexing, tmp_path):
    write(tmp_path, "a", "b", "c")
    await sync(indexing, tmp_path, base=tmp_path)
    before = await sources(indexing)
    (tmp_path / "a.md").rename(tmp_path / "moved.md")
    (tmp_path / "b.md").unlink()
    outcome = await reindex(
        indexing, inputs(tmp_path, base=tmp_path), resume=False, activate="never", golden=None, force=False,
        watch=lambda _: None, sync=True,
    )  # fmt: skip
    assert (outcome.report.deleted, outcome.exit_code) == (1, 0)
    assert await sources(indexing) == {"a.md": before["a.md"], "c.md": before["c.md"]}
    built = execute(indexing.dsn, "SELECT source FROM footnote.documents d JOIN footnote.generations g "
                    "ON g.id = d.generation_id WHERE g.number = 2 ORDER BY 1")  # fmt: skip
    assert built == [("c.md",), ("moved.md",)]


async def test_more_than_the_share_is_refused_with_a_reason_and_what_was_ingested_stays(indexing, tmp_path):
    names = [f"n{number}" for number in range(FLOOR + 5)]
    write(tmp_path, *names)
    await sync(indexing, tmp_path, base=tmp_path)
    for name in names[: FLOOR + 1]:
        (tmp_path / f"{name}.md").unlink()
    write(tmp_path, "new")
    outcome = await sync(indexing, tmp_path, base=tmp_path)
    assert (outcome.exit_code, outcome.report.deleted, outcome.report.added) == (4, 0, 1)
    assert "6 of 11 documents are gone" in outcome.as_text()
    assert "--yes" in outcome.as_text()
    assert len(await sources(indexing)) == len(names) + 1
    outcome = await sync(indexing, tmp_path, base=tmp_path, force=True)
    assert (outcome.exit_code, outcome.report.deleted) == (0, FLOOR + 1)


async def test_a_few_documents_of_a_small_collection_may_go(indexing, tmp_path):
    write(tmp_path, "a", "b", "c")
    await sync(indexing, tmp_path)
    (tmp_path / "a.md").unlink()
    (tmp_path / "b.md").unlink()
    assert (await sync(indexing, tmp_path)).report.deleted == 2


async def test_an_empty_folder_is_taken_for_a_disk_that_is_not_mounted(indexing, tmp_path):
    write(tmp_path / "disk", "a")
    write(tmp_path / "other", "b")
    await sync(indexing, tmp_path / "disk", tmp_path / "other")
    (tmp_path / "disk" / "a.md").unlink()
    outcome = await sync(indexing, tmp_path / "disk", tmp_path / "other")
    assert (outcome.exit_code, outcome.report.deleted) == (4, 0)
    assert "a disk may not be mounted" in outcome.as_text()
    assert len(await sources(indexing)) == 2


@pytest.mark.parametrize("how", ["empty", "hidden", "deep"])
async def test_an_empty_folder_below_the_one_named_is_taken_for_a_disk_that_is_not_mounted(indexing, tmp_path, how):
    disk = tmp_path / "some" / "disk"
    write(tmp_path, *(f"top{number}" for number in range(9)))
    write(disk / "deep" if how == "deep" else disk, "a", "b")
    await sync(indexing, tmp_path, base=tmp_path)
    before = await sources(indexing)
    shutil.rmtree(disk)
    disk.mkdir()
    if how == "hidden":
        (disk / ".not-mounted").touch()
    (tmp_path / "top0.md").unlink()
    said = f"there is no file under {disk}; a disk may not be mounted"
    planned = await plan(indexing, inputs(tmp_path, base=tmp_path), reindex=False, sync=True)
    assert f"it would be refused: {said}" in planned.as_text()
    outcome = await sync(indexing, tmp_path, base=tmp_path)
    assert (outcome.exit_code, outcome.report.deleted) == (4, 0)
    assert f"nothing was deleted: {said}" in outcome.as_text()
    assert await sources(indexing) == before
    write(tmp_path, "top0")
    write(disk / "deep" if how == "deep" else disk, "a", "b")
    assert (await sync(indexing, tmp_path, base=tmp_path)).report.unchanged == 11
    shutil.rmtree(disk)
    disk.mkdir()
    assert (await sync(indexing, tmp_path, base=tmp_path, force=True)).report.deleted == 2


async def test_a_folder_that_was_removed_with_its_files_is_gone(indexing, tmp_path):
    write(tmp_path, "top")
    write(tmp_path / "sub" / "deep", *"abc")
    await sync(indexing, tmp_path, base=tmp_path)
    shutil.rmtree(tmp_path / "sub")
    outcome = await sync(indexing, tmp_path, base=tmp_path)
    assert (outcome.exit_code, outcome.report.deleted) == (0, 3)


async def test_a_disk_below_the_folder_named_that_goes_during_the_sync_loses_nothing_more(
    indexing, tmp_path, monkeypatch
):
    disk = tmp_path / "disk"
    write(tmp_path, "top")
    write(disk, *"abc")
    await sync(indexing, tmp_path, base=tmp_path)
    (disk / "a.md").unlink()
    delete = Sync._delete

    async def without_its_disk(self, *args, **options):
        shutil.rmtree(disk)
        disk.mkdir()
        return await delete(self, *args, **options)

    monkeypatch.setattr(Sync, "_delete", without_its_disk)
    assert (await sync(indexing, tmp_path, base=tmp_path)).report.deleted == 0
    assert len(await sources(indexing)) == 4


async def test_a_folder_that_is_missing_is_refused(indexing, tmp_path):
    write(tmp_path / "a", "x")
    write(tmp_path / "b", "y")
    await sync(indexing, tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "x.md").unlink()
    (tmp_path / "a").rmdir()
    outcome = await sync(indexing, tmp_path / "a", tmp_path / "b")
    assert (outcome.exit_code, outcome.report.deleted) == (4, 0)
    assert "is missing" in outcome.as_text()
    assert (await sync(indexing, tmp_path / "a", tmp_path / "b", force=True)).report.deleted == 1


async def test_a_closed_folder_is_refused_and_its_documents_stay_even_with_yes(indexing, tmp_path, monkeypatch):
    write(tmp_path / "open", "a", "b")
    write(tmp_path / "closed", "c")
    await sync(indexing, tmp_path)
    (tmp_path / "open" / "a.md").unlink()
    close(monkeypatch, tmp_path / "closed")
    refused = await sync(indexing, tmp_path)
    forced = await sync(indexing, tmp_path, force=True)
    assert (refused.exit_code, refused.report.deleted) == (4, 0)
    assert "cannot be looked into" in refused.as_text()
    assert forced.report.deleted == 1
    assert {Path(source).name for source in await sources(indexing)} == {"b.md", "c.md"}


def close(monkeypatch, folder):
    """Let the system refuse to look into a folder, also to root."""
    for name, below in (("scandir", str(folder)), ("lstat", f"{folder}/")):
        real = getattr(os, name)

        def refused(path, *args, real=real, below=below, **options):
            if str(path).startswith(below):
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **options)

        monkeypatch.setattr(os, name, refused)


async def test_a_file_that_cannot_be_looked_at_is_not_gone(indexing, tmp_path, monkeypatch):
    write(tmp_path / "x", "a", "b")
    await sync(indexing, tmp_path)
    (tmp_path / "x" / "b.md").unlink()
    real = os.lstat

    def away(path, *args, **options):
        if str(path).endswith("b.md"):
            raise OSError(5, "Input/output error")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "lstat", away)
    outcome = await sync(indexing, tmp_path, force=True)
    assert (outcome.report.deleted, len(await sources(indexing))) == (0, 2)


async def test_a_run_with_a_failed_document_deletes_nothing(indexing, tmp_path):
    write(tmp_path, "a", "b")
    await sync(indexing, tmp_path)
    (tmp_path / "a.md").unlink()
    (tmp_path / "b.md").write_text("POISON")
    outcome = await sync(indexing, tmp_path)
    assert (outcome.exit_code, outcome.report.deleted, len(await sources(indexing))) == (1, 0, 2)
    assert "documents failed" in outcome.as_text()


async def test_a_link_that_leads_nowhere_is_still_there(indexing, tmp_path):
    write(tmp_path, "a", "real")
    (tmp_path / "link.md").symlink_to(tmp_path / "elsewhere.txt")
    (tmp_path / "elsewhere.txt").write_text("Text of the link.")
    await sync(indexing, tmp_path / "link.md", tmp_path / "a.md")
    (tmp_path / "elsewhere.txt").unlink()
    outcome = await sync(indexing, tmp_path / "link.md", tmp_path / "a.md", force=True)
    assert (outcome.report.deleted, len(await sources(indexing))) == (0, 2)


async def test_excluded_files_that_are_there_keep_their_documents(indexing, tmp_path):
    write(tmp_path, "a", "draft-b")
    await sync(indexing, tmp_path)
    outcome = await sync(indexing, tmp_path, exclude=["draft-*"])
    assert (outcome.report.unchanged, outcome.report.deleted, len(await sources(indexing))) == (1, 0, 2)


def test_patterns_and_no_paths_are_refused_with_what_is_wanted(tmp_path):
    with pytest.raises(SyncRefused, match="pattern"):
        require_folders(inputs(tmp_path / "*.md"))
    with pytest.raises(SyncRefused, match="name at least one"):
        require_folders(inputs())


async def test_the_share_is_a_setting(settings, tmp_path):
    lenient = settings.model_copy(update={"ingestion": IngestionSettings(sync_max_deleted=1)})
    write(tmp_path, *(f"n{number}" for number in range(FLOOR + 2)))
    async with open_made_up(lenient) as other:
        await sync(other, tmp_path)
        for number in range(FLOOR + 1):
            (tmp_path / f"n{number}.md").unlink()
        assert (await sync(other, tmp_path)).report.deleted == FLOOR + 1
