"""Which exports are used, and which are made anew."""

import os
import shutil
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from config.settings import Settings
from embedding import exports
from embedding.errors import ExportersMissing
from embedding.exports import INT8_FILE, ONNX_FILE, RECORD, TOKENIZER_FILE, ExportKind, Recipe, ready_made

KIND = ExportKind(name="onnx-1", model="made-up", revision="1", recipe=Recipe)
RECIPE = Recipe(max_tokens=256, pad_id=0)
INSTALLED = dict.fromkeys((*exports.EXPORTERS, *exports.RUNNERS), "1.0")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Say which libraries are installed."""
    versions = dict(INSTALLED)
    monkeypatch.setattr(exports, "_version", versions.get)
    return versions


class Exporter:
    """Stands in for sentence-transformers; counts."""

    def __init__(self, recipe=RECIPE, weights=b"weights", file=ONNX_FILE):
        self.recipe = recipe
        self.weights = weights
        self.file = file
        self.calls = 0

    def __call__(self, directory):
        self.calls += 1
        for name, content in ((self.file, self.weights), (TOKENIZER_FILE, b"{}")):
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(content)
        return self.recipe


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path / "data", embedding={"exports": tmp_path / "ready"})


def without(versions, *names):
    for name in names:
        del versions[name]


def test_what_takes_long_at_a_first_start_is_told_with_its_reason_and_where_it_is_kept(settings):
    exported = replace(KIND, name="onnx-1-int8", onnx_file=INT8_FILE)
    with capture_logs() as lines:
        for kind in (KIND, exported, KIND):
            kind.found_or_made(settings, Exporter(file=kind.onnx_file))
    first, second = (line["event"] for line in lines)
    assert first.startswith("converting the model made-up to ONNX")
    assert second.startswith("quantizing the model made-up to 8-bit numbers")
    assert {(line["folder"], line["shown"]) for line in lines} == {(str(settings.data_dir / "models"), True)}


def test_an_export_is_made_once_with_its_recipe_and_nothing_half_done_beside_it(settings):
    exporter = Exporter()
    made = KIND.found_or_made(settings, exporter)
    assert (made.recipe, made.directory) == (RECIPE, settings.data_dir / "models" / "onnx-1")
    assert KIND.found_or_made(settings, exporter) == made
    assert exporter.calls == 1
    assert sorted(path.name for path in (settings.data_dir / "models").iterdir()) == [".lock", "onnx-1"]


def test_a_model_that_only_the_library_runs_is_exported_once_too(settings):
    exporter = Exporter(recipe=None)
    assert [KIND.found_or_made(settings, exporter).recipe for _ in range(2)] == [None, None]
    assert exporter.calls == 1


@pytest.mark.parametrize("name", [ONNX_FILE, TOKENIZER_FILE])
@pytest.mark.parametrize("content", [b"weight5", b"}{", b"more than before", None])
def test_a_changed_or_missing_file_makes_it_anew(settings, name, content):
    directory = KIND.found_or_made(settings, Exporter()).directory
    (directory / name).unlink()
    if content is not None:
        (directory / name).write_bytes(content)
    exporter = Exporter()
    KIND.found_or_made(settings, exporter)
    assert exporter.calls == 1
    assert (directory / ONNX_FILE).read_bytes() == b"weights"


def test_a_copy_with_other_times_is_known_by_its_hash(settings, tmp_path):
    directory = KIND.made(tmp_path / "made", Exporter()).directory
    shutil.copytree(directory, tmp_path / "ready" / "onnx-1", copy_function=shutil.copyfile)
    assert KIND.find(settings).directory == tmp_path / "ready" / "onnx-1"


def test_files_are_not_read_where_their_times_are_as_they_were(settings, monkeypatch):
    KIND.found_or_made(settings, Exporter())
    monkeypatch.setattr(exports, "_sha256", None)  # calling it would fail
    assert KIND.find(settings) is not None


@pytest.mark.parametrize("library", INSTALLED)
def test_another_version_of_a_library_makes_it_anew(settings, installed, library):
    KIND.found_or_made(settings, Exporter())
    installed[library] = "1.1"
    exporter = Exporter()
    KIND.found_or_made(settings, exporter)
    KIND.found_or_made(settings, exporter)
    assert exporter.calls == 1


@pytest.mark.parametrize("record", ["", "[]", '{"format": 1}', None])
def test_without_a_record_that_can_be_read_it_is_made_anew(settings, record):
    directory = KIND.found_or_made(settings, Exporter()).directory
    (directory / RECORD).unlink()
    if record is not None:
        (directory / RECORD).write_text(record)
    assert KIND.find(settings) is None
    assert KIND.found_or_made(settings, Exporter()).recipe == RECIPE


def test_another_format_or_revision_is_made_anew(settings, monkeypatch):
    KIND.found_or_made(settings, Exporter())
    assert ExportKind(name="onnx-1", model="made-up", revision="2", recipe=Recipe).find(settings) is None
    monkeypatch.setattr(exports, "FORMAT", exports.FORMAT + 1)
    assert KIND.find(settings) is None


def test_a_ready_made_export_is_used_and_not_written_to(settings, tmp_path):
    ready = KIND.made(tmp_path / "ready", Exporter())
    assert KIND.found_or_made(settings, Exporter()) == ready
    (ready.directory / ONNX_FILE).write_bytes(b"others")
    os.utime(ready.directory / ONNX_FILE)
    made = KIND.found_or_made(settings, Exporter())
    assert made.directory == settings.data_dir / "models" / "onnx-1"
    assert (ready.directory / ONNX_FILE).read_bytes() == b"others"


def test_without_the_exporting_libraries_an_unchanged_export_serves_whatever_their_versions_were(settings, installed):
    made = KIND.found_or_made(settings, Exporter())
    without(installed, *exports.EXPORTERS)
    installed["onnxruntime"] = "1.1"
    assert KIND.found_or_made(settings, Exporter()) == made
    (made.directory / ONNX_FILE).write_bytes(b"others")
    with pytest.raises(ExportersMissing):
        KIND.found_or_made(settings, Exporter())


def test_without_export_and_libraries_one_line_says_what_to_install_or_to_give(settings, installed):
    without(installed, "torch", "optimum-onnx")
    exporter = Exporter()
    with pytest.raises(ExportersMissing) as caught:
        KIND.found_or_made(settings, exporter)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("optimum-onnx, torch", "extra `hub`", "FOOTNOTE_EMBEDDING__EXPORTS", "made-up"):
        assert part in message
    assert exporter.calls == 0


def test_an_exporter_that_fails_leaves_what_was_there(settings):
    made = KIND.found_or_made(settings, Exporter()).directory

    def fail(directory):
        (directory / "onnx").mkdir()
        msg = "no such operator"
        raise ValueError(msg)

    (made / RECORD).unlink()
    with pytest.raises(ValueError, match="no such operator"):
        KIND.found_or_made(settings, fail)
    assert (made / ONNX_FILE).exists()
    assert sorted(path.name for path in made.parent.iterdir()) == [".lock", "onnx-1"]


def kind_of(revision):
    return ExportKind(name=f"onnx-{revision}", model="made-up", revision=revision, recipe=Recipe)


def test_a_ready_made_export_is_found_by_the_model_s_name_and_revision(tmp_path):
    for revision in ("1", "2"):
        kind_of(revision).made(tmp_path, Exporter())
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / RECORD).write_text("{")

    def found(model="made-up", revision=None, folder=tmp_path):
        return ready_made(folder, model=model, revision=revision, kind=kind_of)

    assert found(revision="2") == (tmp_path / "onnx-2", "2")
    assert found() == (tmp_path / "onnx-1", "1")
    (tmp_path / "onnx-1" / ONNX_FILE).write_bytes(b"others")
    assert found() == (tmp_path / "onnx-2", "2")
    assert found(revision="3") is found(model="other") is found(folder=None) is found(folder=tmp_path / "none") is None
