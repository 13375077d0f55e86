"""A real cross-encoder, though a tiny one: exported, batched, cut, run beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
import time
from functools import partial

import numpy as np
import pytest
from support.cross_encoder import MAX_TOKENS, make_cross_encoder

from config.settings import Settings, SettingsError
from embedding.onnx_model import Batch
from server.engines.models.errors import ModelFailed
from server.engines.reranking import cross_encoder, exports
from server.engines.reranking.cross_encoder import CALL_TOKENS, OnnxScorer
from server.engines.reranking.local import LocalRerank, open_local

QUESTION = "which one?"
PASSAGES = [
    "that one",
    "",
    "a b c d e f g h " * 40,
    "other",
    "word after word after word",
    "Ünïcödé — 中文 🥖",
    "[SEP] [CLS] [PAD] [MASK]",
    "that one",
] * 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_cross_encoder(tmp_path_factory.mktemp("reranker") / "model")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def settings(model, data_dir, **values):
    return Settings(data_dir=data_dir, rerank={"provider": "local", "model": str(model), **values})


@contextlib.asynccontextmanager
async def opened(model, data_dir, **values):
    reranker = await asyncio.to_thread(open_local, settings(model, data_dir, **values))
    try:
        yield reranker
    finally:
        await reranker.close()


async def scores(model, data_dir, passages=PASSAGES, **values):
    async with opened(model, data_dir, **values) as reranker:
        return await reranker.scores(QUESTION, passages)


def library(model):
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(model), device="cpu")


async def test_torch_and_onnx_score_as_the_library_does(model, data_dir):
    pairs = [(QUESTION, passage) for passage in PASSAGES]
    expected = library(model).predict(pairs, show_progress_bar=False)
    assert np.std(expected) > 0.01  # else any scorer would do
    from server.engines.reranking.library import LibraryScorer  # torch: not imported by all who collect this file

    for backend, kind in (("torch", LibraryScorer), ("onnx", OnnxScorer), ("auto", OnnxScorer)):
        async with opened(model, data_dir, backend=backend) as reranker:
            assert isinstance(reranker._scorer, kind)
            assert await reranker.scores(QUESTION, PASSAGES) == pytest.approx(list(expected), abs=1e-4)


async def test_a_passage_s_score_does_not_depend_on_its_company(model, data_dir, monkeypatch):
    together = await scores(model, data_dir)
    for batch_size in (1, 3, 100):
        monkeypatch.setattr(cross_encoder, "BATCH_SIZE", batch_size)
        assert await scores(model, data_dir) == pytest.approx(together, abs=1e-5)
    alone = [(await scores(model, data_dir, [passage]))[0] for passage in PASSAGES[:4]]
    assert alone == pytest.approx(together[:4], abs=1e-5)


async def test_what_is_too_long_is_cut_at_the_model_s_length_or_a_shorter_one(model, data_dir, monkeypatch):
    long = "a b c d " * 400
    same = await scores(model, data_dir, [long, long + "x y z " * 100])
    assert same[0] == pytest.approx(same[1])
    with monkeypatch.context() as patch:
        patch.setattr(exports, "MAX_TOKENS", 16)
        short = await scores(model, data_dir, ["a b c d e f g h i j k l m n", "a b c d e f g h i j k l m z"])
    assert short[0] == pytest.approx(short[1])
    longer = await scores(model, data_dir, ["a b c d e f g h i j k l m n", "a b c d e f g h i j k l m z"])
    assert abs(longer[0] - longer[1]) > 1e-4
    question_too = await scores(model, data_dir, ["a"])
    async with opened(model, data_dir) as reranker:
        assert len(await reranker.scores("why " * 5000, ["a", "b"])) == len(question_too) + 1


def test_batches_hold_few_tokens_and_few_texts_and_each_passage_once(model, data_dir):
    scorer, backend = exports.load_scorer(
        exports.find_cross_encoder(settings(model, data_dir)), settings=settings(model, data_dir)
    )
    assert backend == "onnx"
    batches = scorer.batches(QUESTION, PASSAGES)
    places = sorted(place for batch in batches for place in batch.places)
    assert places == list(range(len(PASSAGES)))
    for batch in batches:
        longest = max(pair.shape[1] for pair in batch.inputs)
        assert longest <= MAX_TOKENS
        assert len(batch.inputs) <= 8
        assert longest * len(batch.inputs) <= CALL_TOKENS


async def test_the_export_is_made_once_and_kept(model, data_dir, monkeypatch):
    await scores(model, data_dir, ["a"])
    (kept,) = data_dir.glob("models/rerank-onnx-*")
    assert (kept / "onnx" / "model.onnx").exists()
    assert not list(data_dir.glob("models/exporting-*"))
    monkeypatch.setattr(exports, "_export", None)  # calling it would fail
    await scores(model, data_dir, ["a"])


async def test_other_weights_in_the_same_directory_are_another_model(tmp_path, data_dir):
    directory = make_cross_encoder(tmp_path / "model", seed=1)
    first = await scores(directory, data_dir, ["that one"])
    shutil.rmtree(directory)
    make_cross_encoder(directory, seed=2)
    assert abs((await scores(directory, data_dir, ["that one"]))[0] - first[0]) > 1e-3


def test_an_export_that_another_process_made_meanwhile_is_taken(model, tmp_path):
    files = exports.find_cross_encoder(settings(model, tmp_path))
    kind, write = exports.export_kind(files.name, files.revision), partial(exports._export, files)
    made = kind.made(tmp_path / "models", write)
    before = (made.directory / "onnx" / "model.onnx").stat().st_ino
    assert kind.made(tmp_path / "models", write) == made
    assert (made.directory / "onnx" / "model.onnx").stat().st_ino == before
    assert [path for path in (tmp_path / "models").iterdir() if path.is_dir()] == [made.directory]


async def test_a_model_whose_own_scores_differ_is_left_to_the_library(model, tmp_path, monkeypatch):
    monkeypatch.setattr("server.engines.reranking.library._agree", lambda *_: False)
    expected = library(model).predict([(QUESTION, passage) for passage in PASSAGES], show_progress_bar=False)
    async with opened(model, tmp_path, backend="onnx") as reranker:
        assert type(reranker._scorer).__name__ == "LibraryScorer"
        assert await reranker.scores(QUESTION, PASSAGES) == pytest.approx(list(expected), abs=1e-4)


@pytest.mark.parametrize("backend", ["auto", "onnx", "torch"])
def test_a_directory_without_a_model_is_told_at_the_start(tmp_path, backend):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="FOOTNOTE_RERANK__MODEL"):
        open_local(settings(tmp_path / "empty", tmp_path, backend=backend))


def test_a_classifier_of_several_labels_is_no_reranker(tmp_path):
    model = make_cross_encoder(tmp_path / "model", labels=3)
    with pytest.raises(SettingsError, match="3 scores a passage"):
        open_local(settings(model, tmp_path))


def test_without_a_model_s_name_the_setting_to_set_is_told(tmp_path):
    with pytest.raises(SettingsError, match="FOOTNOTE_RERANK__MODEL: set it"):
        open_local(Settings(data_dir=tmp_path, rerank={"provider": "local"}))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    model = make_cross_encoder(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["model_type"] = "made-up"
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(SettingsError, match="FOOTNOTE_RERANK__MODEL"):
        open_local(settings(model, tmp_path))
    assert not (tmp_path / "ran").exists()


class Slow:
    """A scorer whose batches take a while, and count."""

    def __init__(self, threads=2, seconds=0.05):
        self.threads = threads
        self.seconds = seconds
        self.batches_done = 0
        self.running = self.max_running = 0
        self._lock = threading.Lock()

    def batches(self, _, passages):
        return [Batch(np.array([place]), passage) for place, passage in enumerate(passages)]

    def scores(self, batch):
        with self._lock:
            self.running += 1
            self.max_running = max(self.max_running, self.running)
        time.sleep(self.seconds)
        with self._lock:
            self.running -= 1
            self.batches_done += 1
        return np.array([float(len(batch.inputs))])


async def test_the_event_loop_goes_on_and_no_more_calls_run_than_there_are_threads():
    slow, ticks = Slow(), []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    reranker = LocalRerank(slow, model="slow")
    questions = [reranker.scores("q", ["a", "bb", "ccc", "dddd"]) for _ in range(5)]
    assert await asyncio.gather(*questions) == [[1.0, 2.0, 3.0, 4.0]] * 5
    ticking.cancel()
    await reranker.close()
    assert slow.max_running == 2
    assert len(ticks) > 10


async def test_nothing_more_is_computed_for_a_question_that_was_given_up():
    slow = Slow(threads=1)
    reranker = LocalRerank(slow, model="slow")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.12):
            await reranker.scores("q", ["a"] * 100)
    assert await reranker.scores("q", ["b"]) == [1.0]
    await reranker.close()
    assert slow.batches_done < 10


async def test_a_question_that_comes_later_does_not_wait_for_all_of_one_before():
    slow = Slow(threads=1)
    reranker = LocalRerank(slow, model="slow")
    long = asyncio.create_task(reranker.scores("q", ["a"] * 40))
    await asyncio.sleep(0.1)
    await reranker.scores("q", ["b"])
    assert not long.done()
    assert slow.batches_done < 20
    await long
    await reranker.close()


async def test_a_model_that_fails_is_named_without_a_word_of_what_it_read():
    class Broken(Slow):
        def scores(self, batch):
            raise RuntimeError(batch.inputs)

    reranker = LocalRerank(Broken(), model="broken")
    with pytest.raises(ModelFailed) as caught:
        await reranker.scores("q", ["private text"])
    await reranker.close()
    assert str(caught.value) == "the reranker broken failed (RuntimeError)"
    assert "private" not in caught.value.detail
