"""Dry runs: they say what a run then does, write nothing, and a manifest holds the run to what they said."""

import json

import pytest
from support.indexings import open_made_up
from support.sql import execute

from config.settings import Price
from ingestion.dry_run.commands import hold, plan
from ingestion.dry_run.manifest import WINDOW, ManifestDiffers, ManifestInvalid
from ingestion.inputs.inputs import Inputs
from ingestion.runs.run import ingest, ingest_and_sync, reindex
from storage.errors import CollectionNotFound

COUNTED = ("added", "changed", "moved", "deleted", "unchanged")


@pytest.fixture
async def indexing(settings):
    async with open_made_up(settings) as opened:
        yield opened


def write(folder, *names, text="What {} says."):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.md").write_text(f"# {name}\n\n{text.format(name)}\n")


def inputs(folder, **options):
    return Inputs("docs", [str(folder)], base=folder, **options)


async def planned(indexing, folder, **options):
    return await plan(indexing, inputs(folder), **{"reindex": False, "sync": False, **options})


async def ingested(indexing, folder):
    return await ingest(indexing, inputs(folder), watch=lambda _: None)


async def rebuilt(indexing, folder):
    return await reindex(
        indexing, inputs(folder), resume=False, activate="always", golden=None, force=False, watch=lambda _: None
    )


def rows(indexing):
    return execute(
        indexing.dsn, "SELECT source, content_hash, generation_id, revision FROM footnote.documents ORDER BY 1, 3"
    )


async def test_a_plan_says_what_the_run_then_does(indexing, tmp_path):
    write(tmp_path, *"abcdef")
    await ingested(indexing, tmp_path)
    before = rows(indexing)
    (tmp_path / "a.md").rename(tmp_path / "moved.md")
    (tmp_path / "b.md").unlink()
    write(tmp_path, "c", text="Now {} says another thing.")
    write(tmp_path, "g", "h")
    (tmp_path / "picture.psd").write_bytes(b"x")
    found = await planned(indexing, tmp_path, sync=True)
    assert rows(indexing) == before
    outcome = await ingest_and_sync(indexing, inputs(tmp_path), force=False, watch=lambda _: None)
    done = outcome.as_json()["documents"]
    assert {name: found.documents[name] for name in COUNTED} == {name: done[name] for name in COUNTED}
    assert found.documents["ignored"] == done["ignored"] == 1
    assert found.named["moved"] == ["moved.md"]
    assert found.named["deleted"] == ["b.md"]


@pytest.mark.parametrize("target", ["nowhere", "a.md", "../outside.md"], ids=["dangling", "loop", "out of the folder"])
async def test_a_file_that_became_a_link_is_there_to_a_plan_and_to_the_run(indexing, tmp_path, target):
    folder = tmp_path / "files"
    write(folder, *"abc")
    (tmp_path / "outside.md").write_text("Outside.")
    await ingested(indexing, folder)
    content = (folder / "a.md").read_text()
    (folder / "a.md").unlink()
    (folder / "a.md").symlink_to(target)
    (folder / "copy.md").write_text(content)  # no move: what it might come from is still there
    found = await planned(indexing, folder, sync=True)
    outcome = await ingest_and_sync(indexing, inputs(folder), force=True, watch=lambda _: None)
    done = outcome.as_json()
    assert {name: found.documents[name] for name in COUNTED} == {name: done["documents"][name] for name in COUNTED}
    assert (found.named, found.documents["unchanged"]) == ({"added": ["copy.md"]}, 2)
    assert found.as_json()["skipped"] == done["skipped"]
    assert {source for source, *_ in rows(indexing)} == {"a.md", "b.md", "c.md", "copy.md"}


async def test_a_plan_for_a_new_collection_makes_none(indexing, tmp_path):
    write(tmp_path, "a", "b")
    found = await planned(indexing, tmp_path)
    assert (found.documents["added"], found.generation) == (2, None)
    with pytest.raises(CollectionNotFound):
        await indexing.collections.active("docs")
    assert found.as_text().endswith("nothing was written")


async def test_a_plan_to_reindex_counts_what_is_made_anew_and_what_is_carried_over(indexing, tmp_path):
    write(tmp_path / "in", "a", "b")
    write(tmp_path / "out", "c")
    both = Inputs("docs", [str(tmp_path)], base=tmp_path)
    await ingest(indexing, both, watch=lambda _: None)
    found = await plan(
        indexing, Inputs("docs", [str(tmp_path / "in")], base=tmp_path), reindex=True, sync=False
    )  # the model and the chunking are as they were, so that every vector serves again
    assert (found.documents["reindexed"], found.documents["carried"]) == (2, 1)
    assert found.estimate.tokens.high == 0
    assert found.estimate.chunks.likely == 3


async def test_an_estimate_of_all_documents_is_exact_and_has_a_price(settings, tmp_path):
    prices = {settings.embedding.model: Price(input=1_000_000, output=0)}
    priced = settings.model_copy(update={"llm": settings.llm.model_copy(update={"prices": prices})})
    async with open_made_up(priced) as indexing:
        write(tmp_path, *"abc", text="word {} and another. " + "A sentence of some words. " * 200)
        found = await planned(indexing, tmp_path)
        estimate = found.estimate
        assert estimate.cost_usd.likely == pytest.approx(estimate.tokens.likely)
        report = await ingested(indexing, tmp_path)
        assert estimate.chunks.likely == estimate.chunks.low == report.chunks
        assert "US dollars" in found.as_text()


async def test_an_estimate_from_a_sample_holds_the_truth_in_its_range(indexing, tmp_path):
    for number in range(60):
        write(tmp_path, f"n{number}", text="A sentence of some words. " * (10 + 7 * number))
    found = await planned(indexing, tmp_path)
    assert found.estimate.documents == 24
    report = await ingested(indexing, tmp_path)
    assert found.estimate.chunks.low <= report.chunks <= found.estimate.chunks.high
    assert found.estimate.chunks.low < found.estimate.chunks.high


async def test_files_that_cannot_be_read_are_counted_in_the_sample(indexing, tmp_path):
    write(tmp_path, "a")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 and no more")
    found = await planned(indexing, tmp_path)
    assert (found.estimate.documents, found.estimate.unreadable) == (2, 1)


async def test_a_sync_that_would_be_refused_is_told(indexing, tmp_path):
    write(tmp_path, *(f"n{number}" for number in range(8)))
    await ingested(indexing, tmp_path)
    for number in range(7):
        (tmp_path / f"n{number}.md").unlink()
    found = await planned(indexing, tmp_path, sync=True)
    assert found.documents["deleted"] == 7
    assert "it would be refused: 7 of 8" in found.as_text()


async def test_a_run_is_held_to_its_manifest(indexing, tmp_path):
    folder, manifest = tmp_path / "files", tmp_path / "plan.jsonl"
    write(folder, *"abc")
    await ingested(indexing, folder)
    write(folder, "d")
    (folder / "a.md").unlink()
    modes = {"reindex": False, "sync": True, "manifest": manifest}
    await plan(indexing, inputs(folder), **modes)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [line.get("action") for line in lines] == [None, "added", "deleted", None]
    await hold(indexing, inputs(folder), **modes)
    before = rows(indexing)
    for change, said in (
        (lambda: write(folder, "d", text="Other words."), r"d\.md added in the manifest, now added with other content"),
        (lambda: write(folder, "e"), r"e\.md added now, and not in the manifest"),
        ((folder / "d.md").unlink, r"d\.md added in the manifest, and not now"),
        (lambda: write(folder, "a"), r"a\.md deleted in the manifest"),
    ):
        change()
        with pytest.raises(ManifestDiffers, match=said):
            await hold(indexing, inputs(folder), **modes)
    assert rows(indexing) == before


async def test_another_generation_other_settings_and_another_mode_do_not_fit(indexing, tmp_path):
    folder, manifest = tmp_path / "files", tmp_path / "plan.jsonl"
    write(folder, "a")
    await ingested(indexing, folder)
    write(folder, "b")
    await planned(indexing, folder, manifest=manifest)
    with pytest.raises(ManifestDiffers, match="metadata"):
        await hold(indexing, inputs(folder, metadata={"x": 1}), reindex=False, sync=False, manifest=manifest)
    with pytest.raises(ManifestDiffers, match="--sync was False and is True"):
        await hold(indexing, inputs(folder), reindex=False, sync=True, manifest=manifest)
    (folder / "b.md").unlink()
    await rebuilt(indexing, folder)
    write(folder, "b")
    with pytest.raises(ManifestDiffers, match="the generation that answers was 1 and is 2"):
        await hold(indexing, inputs(folder), reindex=False, sync=False, manifest=manifest)


async def test_one_file_more_among_many_is_the_only_difference_named(indexing, tmp_path):
    folder, manifest = tmp_path / "files", tmp_path / "plan.jsonl"
    write(folder, *(f"n{number:04}" for number in range(WINDOW + 50)))
    await planned(indexing, folder, manifest=manifest)
    write(folder, "n0005a")
    with pytest.raises(ManifestDiffers) as caught:
        await hold(indexing, inputs(folder), reindex=False, sync=False, manifest=manifest)
    assert str(caught.value).count("manifest") == 2  # in the sentence, and of one file
    assert "n0005a.md added now" in str(caught.value)


HEADER = (
    '{"footnote_manifest": 1, "collection": "docs", "generation": null, "mode": "ingest", "sync": false, '
    '"settings": "s"}\n'
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is no manifest"),
        ("[" * 100_000, "longer than|no manifest"),
        ("[" * 16_000 + "\n", "no manifest"),
        ('{"footnote_manifest": 2}\n', "its version is 2"),
        ('{"footnote_manifest": true}\n', "its version is True"),
        (HEADER, "its end is missing"),
        (HEADER + '{"documents": 3}\n', "its end is missing"),
        (HEADER + '{"action": "burned"}\n', "line 2: action"),
        (HEADER + "x" * 20_000, "line 2: it is longer than"),
        (HEADER + '{"action": "added", "source": "a", "content_hash": "h", "bytes": NaN}\n', "line 2"),
        ("\xff\xfe", "no manifest"),
    ],
)
async def test_a_damaged_manifest_gets_one_clear_sentence(indexing, tmp_path, content, said, monkeypatch):
    manifest = tmp_path / "plan.jsonl"
    manifest.write_text(content, "latin-1")
    from ingestion.dry_run import manifest as module

    monkeypatch.setattr(module, "_compare_headers", lambda *_: None)
    with pytest.raises(ManifestInvalid, match=said):
        await hold(indexing, inputs(tmp_path / "none"), reindex=False, sync=False, manifest=manifest)


async def test_a_manifest_that_cannot_be_written_is_told_and_leaves_nothing(indexing, tmp_path):
    write(tmp_path / "files", "a")
    with pytest.raises(ManifestInvalid, match="cannot be written"):
        await planned(indexing, tmp_path / "files", manifest=tmp_path / "no" / "plan.jsonl")
    assert [each.name for each in tmp_path.iterdir()] == ["files"]
