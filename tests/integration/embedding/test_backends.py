"""The real model through each backend: one export, kept, and vectors that agree."""

import numpy as np
import pytest

from config.settings import Settings
from embedding.backends import INT8_FILE, ONNX_FILE, load_model
from embedding.encoders import LibraryEncoder, OnnxEncoder, onnx_encoder
from embedding.files import find_model
from embedding.opening import open_embedder

TEXTS = ["PostgreSQL keeps several versions of a row.", "Sourdough rises for twelve hours.", "word " * 400]


async def vectors(data_dir, **embedding):
    opened = open_embedder(Settings(data_dir=data_dir, embedding=embedding))
    try:
        return await opened.texts(TEXTS), opened
    finally:
        opened.close()


async def test_onnx_int8_and_torch_agree_and_the_export_is_kept(tmp_path, embedder):
    onnx = await embedder.texts(TEXTS)
    assert np.linalg.norm(onnx, axis=1) == pytest.approx(1, abs=1e-5)
    torch, _ = await vectors(tmp_path, backend="torch")
    assert (onnx * torch).sum(1).min() > 0.9999
    int8, _ = await vectors(tmp_path, backend="onnx", quantization="int8")
    assert (onnx * int8).sum(1).min() > 0.94  # the least is that of one word four hundred times
    (exported,) = (tmp_path / "models").iterdir()  # nothing half done beside it
    assert (exported / ONNX_FILE).exists()
    assert (exported / INT8_FILE).exists()


async def test_vectors_are_as_long_as_they_come_where_normalisation_is_off(embedder, shared_dir):
    raw, opened = await vectors(shared_dir, normalize=False)
    assert opened.identity.fingerprint != embedder.identity.fingerprint
    assert raw.shape == (len(TEXTS), embedder.files.dimension)


@pytest.fixture(scope="module")
def library(shared_dir):
    """The same model as the library opens it: by its side, what we do ourselves must not show."""
    instructed = Settings(data_dir=shared_dir, embedding={"query_instruction": "query: ", "text_instruction": "about "})
    return load_model(find_model(instructed.embedding), settings=instructed, threads=1)[0]


def test_what_we_do_ourselves_gives_the_vectors_of_the_library(library):
    texts = [
        *TEXTS,
        "",
        "ärger, 東京, \u0000 and \U0001f40d",
        *(f"{'a longer passage ' * n}and its end" for n in range(0, 90, 7)),
    ]
    ours = onnx_encoder(library, threads=2, batch_size=32)
    assert isinstance(ours, OnnxEncoder)
    theirs = LibraryEncoder(library._model, normalize=True, batch_size=1, on_cpu=True)
    for prompt in ("query", "text"):
        batches = ours.batches(texts, prompt=prompt)
        assert len(batches) < len(texts)  # short ones are padded together
        made = np.empty((len(texts), 384), dtype="float32")
        for batch in batches:
            made[batch.places] = ours.encode(batch)
        (everything,) = theirs.batches(texts, prompt=prompt)
        assert made == pytest.approx(theirs.encode(everything), abs=1e-5)


@pytest.mark.parametrize("pooling", ["max", "cls", "lasttoken"])
def test_a_model_that_pools_otherwise_is_called_as_the_library_does_or_by_the_library(library, pooling):
    before = library._model[1].pooling_mode
    library._model[1].pooling_mode = pooling
    try:
        ours = onnx_encoder(library, threads=1, batch_size=32)  # which compares itself with the library
    finally:
        library._model[1].pooling_mode = before
    assert (ours is not None) == (pooling == "cls")


def test_a_model_whose_own_code_gives_other_vectors_is_left_to_the_library(library, monkeypatch):
    monkeypatch.setattr("embedding.encoders._mean", lambda states, _: states.max(axis=1))
    assert onnx_encoder(library, threads=1, batch_size=32) is None
