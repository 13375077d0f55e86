"""Readers and transformations of installed packages, in the real pipeline over a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from llama_index.core.node_parser import SentenceSplitter, SentenceWindowNodeParser
from support.pipelines import ingest_files
from support.plug_ins import BAD, SAMPLE, installed, unpacked

from config.settings import EmbeddingSettings, IngestionSettings, SettingsError
from embedding.files import find_model
from ingestion.identity import build_fingerprint
from ingestion.inputs.walk import find_files
from ingestion.plug_ins import check_plug_ins, plugged_in_readers, suffixes_read
from ingestion.read_options import read_options
from ingestion.readers.kinds import KIND_OF_SUFFIX
from ingestion.readers.process_pool import Parser, _Job, parse_file
from ingestion.types import Parsed, Skipped
from storage.collections.collections import Collections
from storage.generation import Chunking

ROOT = Path(__file__).parents[3]
TOKENIZER = find_model(EmbeddingSettings()).tokenizer_file
RECIPE = "name = Ostrava bread\nminutes = 90\nstep1 = Mix the flour of the mill.\nstep2 = Bake it at 230 degrees.\n"
TEXT = (
    "# The harbour\n\nThe ferry leaves at noon. It carries forty people.\n\n"
    "## The bell\n\nThe bell rings twice. Then the gate closes."
)


@pytest.fixture(scope="module", autouse=True)
def packages():
    with installed(SAMPLE, BAD) as folder:
        yield folder


def parsed(path, **settings):
    """Read and split a file as a worker process does."""
    options = read_options(IngestionSettings(**settings), language="english")
    return parse_file(path, _Job(str(TOKENIZER), 64, 8, 1 << 20, options))


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def holds(found):
    """Tell whether each chunk has its place in the text that the chunks are of."""
    text = {}
    for chunk in found.chunks:
        for at, character in enumerate(chunk.text, chunk.start):
            assert text.setdefault(at, character) == character
        assert chunk.end - chunk.start == len(chunk.text)
        assert chunk.end <= found.text_length
    assert [chunk.index for chunk in found.chunks] == list(range(len(found.chunks)))
    return True


def offering(folder, package, *lines):
    """Install a package that offers readers."""
    made = folder / f"{package}-1.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (made / "entry_points.txt").write_text("\n".join(["[footnote.readers]", *lines]))


@pytest.mark.parametrize("name", [".log2", "log2", "LOG2"])
def test_the_name_of_an_installed_reader_is_the_suffix_with_or_without_its_dot(name, written, tmp_path, monkeypatch):
    offering(tmp_path, "logs", f"{name} = footnote_sample.readers:RecipeReader")
    monkeypatch.syspath_prepend(tmp_path)
    found = parsed(written("bread.log2", RECIPE))
    assert isinstance(found, Parsed)
    assert found.title == "Ostrava bread"


def test_what_is_wrong_with_an_installed_reader_is_not_put_down_to_a_setting(tmp_path, monkeypatch):
    offering(tmp_path, "logs", ".log2 = footnote_sample.guards:NoAddresses")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"^footnote\.readers '\.log2' of logs: NoAddresses is no "):
        check_plug_ins(IngestionSettings(), ours=KIND_OF_SUFFIX)
    offering(tmp_path, "others", "log2 = footnote_sample.readers:RecipeReader")
    with pytest.raises(SettingsError, match=r"both read \.log2 files"):
        check_plug_ins(IngestionSettings(transformations=("no.such",)), ours=KIND_OF_SUFFIX)


def test_an_installed_reader_reads_the_files_of_its_suffix(written):
    found = parsed(written("bread.recipe", RECIPE))
    assert isinstance(found, Parsed)
    assert found.title == "Ostrava bread"
    assert found.metadata == {"minutes": 90}
    assert "Mix the flour of the mill.\n\nBake it at 230 degrees." in "\n\n".join(each.text for each in found.chunks)
    assert suffixes_read(IngestionSettings()) == {".recipe"}
    listed = list(
        find_files([str(written("cake.recipe", RECIPE).parent)], plugged_in=suffixes_read(IngestionSettings()))
    )
    assert all(isinstance(each, Path) for each in listed)
    assert all(isinstance(each, Skipped) for each in find_files([str(listed[0])]))


def test_a_reader_may_take_the_place_of_ours_where_settings_say_so(written):
    path = written("a.txt", RECIPE)
    assert parsed(path).title == "a"
    assert parsed(path, readers={".txt": "recipe"}).title == "Ostrava bread"
    assert parsed(path, readers={".txt": {"class": "footnote_sample.readers.RecipeReader"}}).title == "Ostrava bread"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "the plug-in footnote_bad.others.BadReader failed on it (ValueError)"),
        ("text", "something else than a list of Document"),
        ("nothing", "there is no text in it"),
    ],
)
def test_a_reader_that_fails_skips_its_file_by_name(written, how, said):
    bad = {".bad": {"class": "footnote_bad.others.BadReader", "arguments": {"how": how}}}
    found = parsed(written("a.bad", "x"), readers=bad)
    assert isinstance(found, Skipped)
    assert said in found.reason


async def test_a_reader_that_sleeps_is_ended(written):
    bad = {".bad": {"class": "footnote_bad.others.BadReader", "arguments": {"how": "sleep"}}}
    settings = IngestionSettings(readers=bad, parse_timeout=5)
    async with Parser(tokenizer_file=TOKENIZER, max_tokens=64, overlap=8, settings=settings) as parser:
        found = await parser.parse(written("a.bad", "x"))
        assert found == Skipped(found.path, "reading it took longer than 5 seconds")
        parser._timeout = 120  # a new process imports LlamaIndex first
        assert isinstance(await parser.parse(written("b.recipe", RECIPE)), Parsed)


def test_a_transformation_writes_metadata_of_chunks(written):
    found = parsed(written("a.md", TEXT), transformations=["shout"])
    assert holds(found)
    assert [chunk.metadata for chunk in found.chunks] == [{"words": len(chunk.text.split())} for chunk in found.chunks]
    plain = parsed(written("a.md", TEXT))
    assert [(chunk.text, chunk.heading) for chunk in found.chunks] == [
        (each.text, each.heading) for each in plain.chunks
    ]


def stock(kind, **arguments):
    return {"class": f"llama_index.core.node_parser.{kind.__name__}", "arguments": arguments}


@pytest.mark.parametrize(
    "parser",
    [
        stock(SentenceSplitter, chunk_size=20, chunk_overlap=5),
        stock(SentenceWindowNodeParser, window_size=1),
        {"class": "llama_index.core.node_parser.MarkdownNodeParser"},
        {
            "class": "llama_index.core.node_parser.TokenTextSplitter",
            "arguments": {"chunk_size": 12, "chunk_overlap": 0},
        },
        {"class": "llama_index.core.node_parser.HierarchicalNodeParser", "arguments": {"chunk_sizes": [60, 20]}},
    ],
)
def test_a_stock_node_parser_splits_in_place_of_ours(written, parser):
    if "Hierarchical" in parser["class"]:
        pytest.skip("it is made by from_defaults alone")
    found = parsed(written("a.md", TEXT), transformations=[parser, "shout"])
    assert isinstance(found, Parsed), found
    assert holds(found)
    assert len(found.chunks) > 1
    assert all("words" in chunk.metadata for chunk in found.chunks)
    assert any(chunk.heading and "The bell" in chunk.heading for chunk in found.chunks)


def test_what_a_node_parser_makes_too_long_is_split_to_the_models_limit(written):
    long = "The keeper of the lighthouse of Ostrava Bay trims the lamp at dusk. " * 60
    found = parsed(written("a.txt", long), transformations=[stock(SentenceSplitter, chunk_size=2000, chunk_overlap=0)])
    assert holds(found)
    assert len(found.chunks) > 10


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "BadTransformation failed on it (ValueError)"),
        ("none", "something else than a list of nodes"),
        ("texts", "something else than a list of nodes"),
        ("drop", "left nothing of it"),
        ("unjson", "are not JSON"),
    ],
)
def test_a_transformation_that_fails_skips_its_file_by_name(written, how, said):
    bad = [{"class": "footnote_bad.others.BadTransformation", "arguments": {"how": how}}]
    found = parsed(written("a.md", TEXT), transformations=bad)
    assert isinstance(found, Skipped)
    assert said in found.reason


def test_what_changes_texts_makes_the_text_of_the_document(written):
    found = parsed(written("a.md", TEXT), transformations=["footnote_bad.others.Upper"])
    assert holds(found)
    assert "THE FERRY LEAVES AT NOON." in found.chunks[0].text
    plain = parsed(written("a.md", TEXT))
    assert [chunk.heading for chunk in found.chunks] == [chunk.heading for chunk in plain.chunks]
    assert found.text_length == sum(len(chunk.text) for chunk in found.chunks)


def test_another_plug_in_or_argument_or_version_is_another_fingerprint():
    embedding = find_model(EmbeddingSettings()).identity(EmbeddingSettings())
    chunking = Chunking(tokens=64, overlap=8, language="english")

    def fingerprint(**settings):
        return build_fingerprint(embedding, chunking, IngestionSettings(**settings))

    tagged = "footnote_sample.transformations.Tagged"
    several = [
        fingerprint(),
        fingerprint(transformations=["shout"]),
        fingerprint(transformations=["shout", "shout"]),
        fingerprint(transformations=[{"class": tagged, "arguments": {"key": "n"}}]),
        fingerprint(readers={".txt": "recipe"}),
    ]
    assert len(set(several)) == len(several)
    (_, code) = plugged_in_readers(IngestionSettings())[0]
    assert code.version == "1.0.0"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"transformations": ["no-such"]}, "no installed package offers 'no-such' as footnote.transformations"),
        ({"transformations": ["footnote_sample.readers.RecipeReader"]}, "RecipeReader is no llama_index.core.schema"),
        ({"readers": {".x": "footnote_sample.transformations.Tagged"}}, "Tagged is no llama_index.core.readers"),
        ({"readers": {".x": "no_such_package.Reader"}}, "pip install no-such-package"),
        ({"readers": {".recipe": "footnote_bad.others.BadReader"}}, "an installed package reads .recipe files, too"),
        (
            {"readers": {".x": {"class": "footnote_bad.others.BadReader", "arguments": {"no": 1}}}},
            "does not take these",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(settings, said):
    with pytest.raises(SettingsError) as caught:
        check_plug_ins(IngestionSettings(**settings), ours=KIND_OF_SUFFIX)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_installed_reader_of_a_format_of_ours_must_be_named():
    with pytest.raises(SettingsError, match=r"Footnote reads \.recipe files, too"):
        check_plug_ins(IngestionSettings(), ours={".recipe"})
    check_plug_ins(IngestionSettings(readers={".recipe": "recipe"}), ours={".recipe"})


async def test_chunks_of_a_changed_transformation_are_written_anew(database, embedder, written):
    chunking = Chunking(tokens=64, overlap=8, language="english")
    generation = await Collections(database).ensure("default", embedding=embedder.identity, chunking=chunking)
    path = written("a.md", TEXT)

    async def ingest(**options):
        settings = IngestionSettings(**options)
        async with Parser(tokenizer_file=TOKENIZER, max_tokens=64, overlap=8, settings=settings) as parser:
            return await ingest_files(
                database, path, generation=generation, parser=parser, model=embedder, settings=settings
            )

    assert (await ingest()).added == 1
    assert (await ingest()).unchanged == 1
    assert (await ingest(transformations=["shout"])).changed == 1
    assert (await ingest(transformations=["shout"])).unchanged == 1
    async with database.connection() as connection:
        rows = await connection.fetch(f"SELECT metadata_ FROM footnote.data_generation_{generation.id}")
    assert rows
    assert all("words" in json.loads(row["metadata_"]) for row in rows)


def test_the_command_finds_what_is_installed_beside(settings, tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "bread.recipe").write_text(RECIPE)
    beside = unpacked(tmp_path / "beside", SAMPLE)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    own = {
        "PYTHONPATH": f"{ROOT}:{beside}",
        "FOOTNOTE_DATABASE__URL": settings.database.url.get_secret_value(),
        "FOOTNOTE_DATA_DIR": str(settings.data_dir),
    }

    def run(*arguments, **more):
        command = [sys.executable, "-m", "ingestion", *arguments, str(folder)]
        return subprocess.run(
            command, env=clean | own | more, capture_output=True, text=True, cwd=tmp_path, check=False
        )

    done = run("--json")
    assert json.loads(done.stdout.splitlines()[-1])["documents"]["added"] == 1, done.stdout
    refused = run(FOOTNOTE_INGESTION__TRANSFORMATIONS='["no_such.Thing"]')
    assert refused.returncode != 0
    assert refused.stderr.strip().splitlines() == [
        "error: FOOTNOTE_INGESTION__TRANSFORMATIONS[0]: no_such is not installed (pip install no-such)"
    ]
    broken = run(FOOTNOTE_INGESTION__TRANSFORMATIONS="[broken")
    (line,) = broken.stderr.strip().splitlines()
    assert line.startswith("error: FOOTNOTE_INGESTION__TRANSFORMATIONS: is not valid JSON (Expecting value")
