"""The real model through each backend: one export, kept, and vectors that agree."""

import numpy as np
import pytest

from config.settings import Settings
from ingestion.backends import INT8_FILE, ONNX_FILE
from ingestion.embedding import open_embedder

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
    assert (onnx * int8).sum(1).min() > 0.95
    (exported,) = (tmp_path / "models").iterdir()  # nothing half done beside it
    assert (exported / ONNX_FILE).exists()
    assert (exported / INT8_FILE).exists()


async def test_vectors_are_as_long_as_they_come_where_normalisation_is_off(embedder, shared_dir):
    raw, opened = await vectors(shared_dir, normalize=False)
    assert opened.identity.fingerprint != embedder.identity.fingerprint
    assert raw.shape == (len(TEXTS), embedder.files.dimension)
