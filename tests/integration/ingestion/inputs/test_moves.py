"""Equal files, and what a run may take for a move: what it does not look at stays, in a run as in its dry run."""

import shutil

import pytest
from support.indexings import open_made_up
from support.sql import execute

from ingestion.dry_run.commands import plan
from ingestion.inputs.inputs import Inputs
from ingestion.runs.run import ingest, ingest_and_sync, reindex

TEXT = "# License\n\nDo with it what you like.\n"
COUNTED = ("added", "changed", "moved", "deleted", "unchanged")


@pytest.fixture
async def indexing(settings):
    async with open_made_up(settings) as opened:
        yield opened


def write(path, text=TEXT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def inputs(*paths, base=None):
    return Inputs("docs", [str(path) for path in paths], base=base)


async def ingested(indexing, *paths, base=None, sync=False):
    """Run, after a dry run that must have said the same."""
    wanted = inputs(*paths, base=base)
    said = await plan(indexing, wanted, reindex=False, sync=sync)
    if sync:
        done = (await ingest_and_sync(indexing, wanted, force=False, watch=lambda _: None)).as_json()
    else:
        done = (await ingest(indexing, wanted, watch=lambda _: None)).as_json()
    assert {each: said.documents[each] for each in COUNTED} == {each: done["documents"][each] for each in COUNTED}
    return {each: done["documents"][each] for each in COUNTED if done["documents"][each]}


def stored(indexing, generation="active"):
    return dict(
        execute(
            indexing.dsn,
            "SELECT d.source, d.id FROM footnote.documents d JOIN footnote.generations g ON g.id = d.generation_id "
            f"WHERE g.state = '{generation}'",
        )
    )


def away(folder, how):
    """Take a folder away as an unmounted disk is: without its mount point, with it, or with something hidden in it."""
    shutil.rmtree(folder)
    if how != "absent":
        folder.mkdir()
    if how == "hidden":
        (folder / ".not-mounted").touch()
    if how == "dangling":
        folder.rmdir()
        folder.symlink_to(folder.parent / "nowhere")


@pytest.mark.parametrize(
    ("how", "named"),
    [("absent", "alone"), ("empty", "by a pattern"), *(pytest.param(*each, marks=pytest.mark.soak) for each in
     [("empty", "both"), ("dangling", "both"), ("hidden", "with its parent"), ("absent", "by a pattern")])],
)  # fmt: skip
async def test_a_folder_that_is_away_loses_nothing_to_an_equal_file(indexing, tmp_path, how, named):
    one, two = tmp_path / "m1", tmp_path / "m2"
    write(one / "LICENSE.md")
    await ingested(indexing, one)
    before = stored(indexing)
    away(one, how)
    write(two / "COPYING.md")
    paths = {
        "alone": [two], "both": [one, two], "with its parent": [tmp_path, one, two],
        "by a pattern": [tmp_path / "m*" / "*.md"],
    }[named]  # fmt: skip
    assert await ingested(indexing, *paths) == {"added": 1}
    after = stored(indexing)
    assert after.items() > before.items()
    assert len(after) == 2
    away(two, how)  # nor is it stolen back
    if one.is_symlink():
        one.unlink()
    write(one / "LICENSE.md")
    write(one / "again" / "LICENSE.md")
    assert await ingested(indexing, one) == {"added": 1, "unchanged": 1}
    assert stored(indexing).items() > after.items()


@pytest.mark.parametrize(
    ("how", "named"),
    [("empty", "a folder"), *(pytest.param(*each, marks=pytest.mark.soak) for each in
     [("hidden", "a folder"), ("empty", "a pattern"), ("hidden", "a pattern")])],
)  # fmt: skip
async def test_a_disk_that_is_away_below_what_is_named_loses_nothing_to_an_equal_file(indexing, tmp_path, how, named):
    write(tmp_path / "top.md", "Another text.")
    write(tmp_path / "disk" / "LICENSE.md")
    path = tmp_path if named == "a folder" else tmp_path / "**" / "*.md"
    await ingested(indexing, path)
    before = stored(indexing)
    away(tmp_path / "disk", how)
    write(tmp_path / "COPYING.md")
    assert await ingested(indexing, path) == {"added": 1, "unchanged": 1}
    assert stored(indexing).items() > before.items()


async def test_two_bases_of_which_one_is_away_take_nothing_from_each_other(indexing, tmp_path):
    one, two = tmp_path / "m1", tmp_path / "m2"
    write(one / "LICENSE.md")
    await ingested(indexing, one, base=one)
    away(one, "absent")
    write(two / "COPYING.md")
    assert await ingested(indexing, two, base=two) == {"added": 1}
    assert set(stored(indexing)) == {"LICENSE.md", "COPYING.md"}


async def test_a_build_beside_takes_nothing_from_a_folder_that_is_away(indexing, tmp_path):
    one, two = tmp_path / "m1", tmp_path / "m2"
    write(one / "LICENSE.md")
    await ingested(indexing, one)
    before = stored(indexing)
    away(one, "empty")
    write(two / "COPYING.md")
    await reindex(
        indexing, inputs(one, two), resume=False, activate="always", golden=None, force=False, watch=lambda _: None
    )
    assert stored(indexing).items() > before.items()
    assert len(stored(indexing)) == 2


@pytest.mark.parametrize(
    "named",
    [
        "a folder",
        "a pattern",
        *(pytest.param(each, marks=pytest.mark.soak) for each in ("folders", "a pattern of folders", "a link")),
    ],
)
async def test_a_file_that_moved_within_what_is_named_keeps_its_document(indexing, tmp_path, named):
    one, two = tmp_path / "all" / "one", tmp_path / "all" / "two"
    write(one / "LICENSE.md")
    write(one / "stays.md", "Another text.")
    write(two / "stays.md", "Yet another text.")
    (tmp_path / "link").symlink_to(tmp_path / "all")
    paths = {
        "a folder": [tmp_path / "all"], "folders": [one, two], "a pattern": [tmp_path / "all" / "**" / "*.md"],
        "a pattern of folders": [tmp_path / "all" / "*"], "a link": [tmp_path / "link"],
    }[named]  # fmt: skip
    await ingested(indexing, *paths)
    before = stored(indexing)
    (one / "LICENSE.md").rename(two / "COPYING.md")
    assert await ingested(indexing, *paths) == {"moved": 1, "unchanged": 2}
    assert set(stored(indexing).values()) == set(before.values())
    assert sum(source.endswith("/COPYING.md") for source in stored(indexing)) == 1


async def test_a_sync_whose_folder_is_a_dangling_link_or_goes_while_it_runs_deletes_nothing(
    indexing, tmp_path, monkeypatch
):
    disk, folder = tmp_path / "disk", tmp_path / "folder"
    write(disk / "a.md")
    folder.symlink_to(disk)
    assert await ingested(indexing, folder, sync=True) == {"added": 1}
    disk.rename(tmp_path / "unmounted")
    outcome = await ingest_and_sync(indexing, inputs(folder), force=False, watch=lambda _: None)
    assert (outcome.exit_code, outcome.report.deleted) == (3, 0)
    (tmp_path / "unmounted").rename(disk)

    from ingestion.runs.sync import Sync

    gone = Sync.gone

    async def without_its_disk(self, **options):
        shutil.rmtree(disk)
        disk.mkdir()
        async for document in gone(self, **options):
            yield document

    monkeypatch.setattr(Sync, "gone", without_its_disk)
    outcome = await ingest_and_sync(indexing, inputs(folder), force=False, watch=lambda _: None)
    assert (outcome.exit_code, outcome.report.deleted) == (4, 0)
    assert len(stored(indexing)) == 1
