"""The micro-batcher and the fingerprint, with a made-up model."""

import asyncio
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import embedding.files
from config.settings import EmbeddingSettings
from embedding.errors import EmbeddingFailed, EmbeddingModelNotFound
from embedding.files import BUNDLED, ModelFiles, accepted, find_model, quantization_of
from embedding.local import LocalEmbedder
from embedding.onnx_model import Batch

FILES = ModelFiles("made-up", Path("nowhere"), "1", 3, 256)


class Encoder:
    """Stands in for a model; `gate` holds it back."""

    def __init__(self, *, threads=1, size=100):
        self.threads = threads
        self.size = size
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()

    def settle(self):
        pass

    def batches(self, texts, **_):
        places = np.arange(len(texts))[::-1]  # not in the order that was asked for
        groups = [places[begin : begin + self.size] for begin in range(0, len(places), self.size)]
        return [Batch(group, [texts[place] for place in group]) for group in groups]

    def encode(self, batch):
        self.gate.wait(5)
        self.calls.append(batch.inputs)
        if any("POISON" in text for text in batch.inputs):
            msg = "the text was: " + batch.inputs[0]
            raise ValueError(msg)
        return np.array([[len(text), 0, 0] for text in batch.inputs], dtype="float32")


@contextmanager
def opened(encoder):
    made = LocalEmbedder(encoder, files=FILES, settings=EmbeddingSettings(batch_size=4))
    try:
        yield made
    finally:
        encoder.gate.set()
        made.close()


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def embedder(encoder):
    with opened(encoder) as made:
        yield made


async def test_questions_that_wait_are_embedded_together_and_answered_each_its_own(embedder, encoder):
    encoder.gate.clear()
    first = asyncio.create_task(embedder.query("a"))
    await asyncio.sleep(0.05)
    rest = [asyncio.create_task(embedder.query("b" * n)) for n in range(2, 8)]
    await asyncio.sleep(0.05)
    encoder.gate.set()
    vectors = await asyncio.gather(first, *rest)
    assert [int(vector[0]) for vector in vectors] == [1, 2, 3, 4, 5, 6, 7]
    assert [len(call) for call in encoder.calls] == [1, 4, 2]
    assert vectors[0].dtype == np.float32


async def test_questions_that_wait_are_shared_out_among_the_threads():
    encoder = Encoder(threads=2)
    with opened(encoder) as embedder:
        encoder.gate.clear()
        first = asyncio.create_task(embedder.query("a"))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(embedder.query("b" * n)) for n in range(2, 6)]
        await asyncio.sleep(0.05)
        encoder.gate.set()
        vectors = await asyncio.gather(first, *rest)
    assert [int(vector[0]) for vector in vectors] == [1, 2, 3, 4, 5]
    assert sorted(len(call) for call in encoder.calls) == [1, 2, 2]


async def test_passages_come_back_in_the_order_they_were_given_whatever_the_batches():
    encoder = Encoder(threads=2, size=3)
    with opened(encoder) as embedder:
        vectors = await embedder.texts(["x" * n for n in range(50)])
        nothing = await embedder.texts([])
    assert vectors[:, 0].tolist() == list(range(50))
    assert nothing.shape == (0, 3)


async def test_a_question_waits_for_the_batches_in_hand_and_not_for_the_whole_list():
    encoder = Encoder(size=1)
    with opened(encoder) as embedder:
        encoder.gate.clear()
        passages = asyncio.create_task(embedder.texts(["passage"] * 20))
        await asyncio.sleep(0.05)
        question = asyncio.create_task(embedder.query("why"))
        await asyncio.sleep(0.05)
        encoder.gate.set()
        await asyncio.gather(passages, question)
    assert encoder.calls.index(["why"]) <= 3


async def test_a_list_with_a_text_that_fails_fails_whole_and_stops_early():
    encoder = Encoder(size=1)
    with opened(encoder) as embedder:
        with pytest.raises(EmbeddingFailed, match="ValueError") as caught:
            await embedder.texts(["x"] * 40 + ["POISON secret"])  # the last is the first to be embedded
        assert len(await embedder.texts(["y"])) == 1
    assert "secret" not in str(caught.value)
    assert len(encoder.calls) < 10


async def test_an_asker_that_leaves_takes_no_place_and_harms_nobody(embedder, encoder):
    encoder.gate.clear()
    first = asyncio.create_task(embedder.query("a"))
    await asyncio.sleep(0.05)
    leaves, stays = asyncio.create_task(embedder.query("bb")), asyncio.create_task(embedder.query("ccc"))
    await asyncio.sleep(0.05)
    leaves.cancel()
    first.cancel()
    encoder.gate.set()
    assert int((await stays)[0]) == 3
    assert encoder.calls[1:] == [["ccc"]]


async def test_a_failure_reaches_its_batch_without_the_text_and_the_next_question_works(embedder):
    with pytest.raises(EmbeddingFailed) as caught:
        await embedder.query("POISON secret")
    assert "secret" not in str(caught.value)
    assert int((await embedder.query("ok"))[0]) == 2


def test_the_wheel_s_model_is_known_without_loading_anything():
    files = find_model(EmbeddingSettings())
    assert (files.name, files.dimension, files.max_tokens) == (BUNDLED, 384, 256)
    assert files.tokenizer_file.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"normalize": False},
        {"quantization": "none"},
        {"query_instruction": "query: "},
        {"text_instruction": "passage: "},
    ],
)
def test_whatever_changes_vectors_changes_the_fingerprint(change):
    settings = EmbeddingSettings()
    files = find_model(settings)
    other = settings.model_copy(update=change)
    assert files.identity(settings).fingerprint != files.identity(other).fingerprint


def test_int8_is_the_default_of_the_model_whose_accuracy_was_measured():
    assert quantization_of(EmbeddingSettings()) == "int8"
    assert quantization_of(EmbeddingSettings(model="intfloat/e5-small")) == "none"
    assert quantization_of(EmbeddingSettings(backend="torch")) == "none"
    assert quantization_of(EmbeddingSettings(quantization="none")) == "none"


def test_without_exporters_the_export_that_is_there_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding.files, "missing_exporters", lambda: ("torch",))
    assert quantization_of(EmbeddingSettings()) == "none"  # it cannot be made
    assert quantization_of(EmbeddingSettings(exports=tmp_path)) == "none"
    monkeypatch.setattr(
        embedding.files, "ready_made", lambda *_, kind, **__: (tmp_path, "r") if _is_int8(kind) else None
    )
    assert quantization_of(EmbeddingSettings(exports=tmp_path)) == "int8"


def _is_int8(kind):
    return "int8" in kind("r").name


def test_a_generation_keeps_the_quantization_that_it_was_built_with():
    settings = EmbeddingSettings()
    files = find_model(settings)
    built = {name: files.identity(EmbeddingSettings(quantization=name)).fingerprint for name in ("none", "int8")}
    assert accepted(files, settings) == set(built.values())
    for name, fingerprint in built.items():
        assert accepted(files, EmbeddingSettings(quantization=name)) == {fingerprint}
    assert built["none"] not in accepted(files, EmbeddingSettings(normalize=False))


def test_int8_without_onnx_is_refused():
    with pytest.raises(ValidationError, match="ONNX"):
        EmbeddingSettings(quantization="int8", backend="torch")


def test_speed_settings_do_not_change_the_fingerprint():
    settings = EmbeddingSettings(quantization="none")
    files = find_model(settings)
    other = settings.model_copy(update={"batch_size": 7, "threads": 1, "backend": "torch"})
    assert files.identity(settings).fingerprint == files.identity(other).fingerprint


def test_a_directory_is_known_by_its_content(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "max_position_embeddings": 64}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    settings = EmbeddingSettings(model=str(tmp_path))
    first = find_model(settings)
    assert (first.dimension, first.max_tokens) == (8, 64)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert find_model(settings).revision != first.revision


@pytest.mark.parametrize("content", [None, "not json", "[]", "{}"])
def test_a_directory_without_a_model_is_refused_by_name(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(EmbeddingModelNotFound, match="FOOTNOTE_EMBEDDING__MODEL"):
        find_model(EmbeddingSettings(model=str(tmp_path)))


def test_a_hub_model_that_cannot_be_had_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EmbeddingModelNotFound, match=BUNDLED):
        find_model(EmbeddingSettings(model="nobody/no-such-model"))
