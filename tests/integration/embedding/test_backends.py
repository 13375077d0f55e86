"""The real model through each backend: one export, kept, and vectors that agree."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from config.settings import EmbeddingSettings, Settings
from embedding.backends import load_encoder
from embedding.cache import Embedders
from embedding.encoders import EmbeddingRecipe, OnnxEncoder, export_kind
from embedding.exports import INT8_FILE, ONNX_FILE
from embedding.files import find_model, quantization_of
from embedding.opening import open_embedder

ROOT = Path(__file__).parents[3]
FILES = find_model(EmbeddingSettings())
HEAVY = ("torch", "transformers", "sentence_transformers", "scipy", "matplotlib", "huggingface_hub")
TEXTS = ["PostgreSQL keeps several versions of a row.", "Sourdough rises for twelve hours.", "word " * 400]


def library():
    """Return `embedding.library`; not imported with this file, as every worker that collects it would import torch."""
    from embedding import library

    return library


def onnx_library():
    import onnx

    return onnx


async def vectors(data_dir, **embedding):
    opened = open_embedder(Settings(data_dir=data_dir, embedding=embedding))
    try:
        return await opened.texts(TEXTS), opened
    finally:
        opened.close()


async def test_onnx_and_torch_agree(tmp_path, shared_dir):
    onnx, _ = await vectors(shared_dir, quantization="none")
    assert np.linalg.norm(onnx, axis=1) == pytest.approx(1, abs=1e-5)
    torch, _ = await vectors(tmp_path, backend="torch")
    assert (onnx * torch).sum(1).min() > 0.9999
    assert not [path for path in tmp_path.glob("models/*") if path.is_dir()]  # torch needs no export


async def test_int8_is_made_of_the_export_that_is_there_and_agrees_with_it(embedder, shared_dir, exported):
    full, opened = await vectors(shared_dir, quantization="none")
    int8 = await embedder.texts(TEXTS)
    assert (full * int8).sum(1).min() > 0.9  # the least is that of one word four hundred times
    assert not np.allclose(full, int8, atol=1e-4)
    assert embedder.identity.fingerprint != opened.identity.fingerprint
    made = export_kind(FILES.name, FILES.revision, int8=True).find(Settings(data_dir=shared_dir))
    assert (made.directory / INT8_FILE).stat().st_size < (exported.directory / ONNX_FILE).stat().st_size / 3
    assert not (made.directory / ONNX_FILE).exists()  # what is not run need not be kept twice


@pytest.mark.usefixtures("exported")
def test_weights_have_seven_bits_so_that_no_cpu_saturates(shared_dir):
    made = export_kind(FILES.name, FILES.revision, int8=True).find(Settings(data_dir=shared_dir))
    stored = onnx_library().load(made.directory / INT8_FILE).graph.initializer
    weights = [onnx_library().numpy_helper.to_array(each) for each in stored if each.data_type == 3]  # INT8
    assert len(weights) > 30
    assert max(int(np.abs(each.astype(int)).max()) for each in weights if each.ndim == 2) <= 64


async def test_a_generation_of_int8_is_read_where_torch_runs_the_rest(shared_dir, embedder):
    settings = Settings(data_dir=shared_dir, embedding={"backend": "torch"})
    assert quantization_of(settings.embedding) == "none"
    embedders = Embedders(settings)
    opened = await embedders.of(embedder.identity)
    assert np.allclose(await opened.texts(TEXTS), await embedder.texts(TEXTS), atol=1e-6)
    embedders.close()


async def test_vectors_are_as_long_as_they_come_where_normalisation_is_off(embedder, shared_dir):
    raw, opened = await vectors(shared_dir, normalize=False)
    assert opened.identity.fingerprint != embedder.identity.fingerprint
    assert raw.shape == (len(TEXTS), embedder.files.dimension)


@pytest.fixture(scope="module")
def exported(embedder, shared_dir):
    """The session's export of the bundled model."""
    assert embedder.files == FILES
    return export_kind(FILES.name, FILES.revision, int8=False).find(Settings(data_dir=shared_dir))


@pytest.fixture(scope="module")
def loaded():
    """The same model as sentence-transformers opens it."""
    return library().open_model(FILES.directory, prompts={"query": "query: ", "text": "about "})


@pytest.mark.usefixtures("exported")
def test_an_export_needs_onnxruntime_and_tokenizers_alone(shared_dir):
    program = f"""
import asyncio, sys
from pathlib import Path
from config.settings import Settings
from embedding.opening import open_embedder
opened = open_embedder(Settings(data_dir=Path({str(shared_dir)!r})))
assert len(asyncio.run(opened.query("why"))) == 384
opened.close()
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.usefixtures("exported")
def test_a_model_that_runs_tells_its_maker_nothing(shared_dir, tmp_path):
    """ONNX Runtime's uploader keeps its device's id and its events in a database below HOME."""
    program = f"""
import sys
from pathlib import Path
from config.settings import Settings
from embedding.opening import open_embedder
if sys.argv[1:]:
    import os; del os.environ["ORT_DISABLE_TELEMETRY"]
open_embedder(Settings(data_dir=Path({str(shared_dir)!r}))).close()
"""
    silencing = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in silencing}
    written = {}
    for told in ((), ("told",)):
        home = tmp_path / f"home-{len(told)}"
        home.mkdir()
        command = [sys.executable, "-c", program, *told]
        subprocess.run(command, cwd=ROOT, env=environment | {"HOME": str(home)}, check=True)
        written[told] = [path.name for path in home.rglob("onnxruntime.db")]
    assert written == {(): [], ("told",): ["onnxruntime.db"]}  # the second: it would be seen


@pytest.mark.usefixtures("exported")
def test_what_we_do_ourselves_gives_the_vectors_of_the_library(shared_dir, loaded):
    texts = [
        *TEXTS,
        "",
        "ärger, 東京, \u0000 and \U0001f40d",
        *(f"{'a longer passage ' * n}and its end" for n in range(0, 90, 7)),
    ]
    instructed = {
        "quantization": "none",
        "query_instruction": "query: ",
        "text_instruction": "about ",
        "threads": 2,
    }
    ours, _ = load_encoder(FILES, settings=Settings(data_dir=shared_dir, embedding=instructed))
    assert isinstance(ours, OnnxEncoder)
    theirs = library().LibraryEncoder(loaded, normalize=True, batch_size=1, on_cpu=True)
    for prompt in ("query", "text"):
        batches = ours.batches(texts, prompt=prompt)
        assert len(batches) < len(texts)  # short ones are padded together
        made = np.empty((len(texts), 384), dtype="float32")
        for batch in batches:
            made[batch.places] = ours.encode(batch)
        (everything,) = theirs.batches(texts, prompt=prompt)
        assert made == pytest.approx(theirs.encode(everything), abs=1e-5)


@pytest.fixture(scope="module")
def onnx(exported):
    """The model as sentence-transformers opens the export."""
    settings = EmbeddingSettings(query_instruction="query: ", text_instruction="about ")
    opened = library().open_library_encoder(
        FILES, settings=settings, backend="onnx", threads=1, export=exported.directory
    )
    return opened._model


def test_a_recipe_says_what_sentence_transformers_knows(onnx):
    assert library().recipe_of(onnx) == EmbeddingRecipe(
        max_tokens=256,
        pad_id=0,
        pooling="mean",
        normalize=True,
        prompts={"query": "query: ", "document": "", "text": "about "},
    )


@pytest.mark.parametrize("pooling", ["max", "cls", "lasttoken"])
def test_a_model_that_pools_otherwise_has_a_recipe_only_if_we_pool_so_too(onnx, monkeypatch, pooling):
    monkeypatch.setattr(onnx[1], "pooling_mode", pooling)
    recipe = library().recipe_of(onnx)
    assert recipe is None if pooling != "cls" else recipe.pooling == "cls"


def test_a_model_that_wants_other_inputs_has_no_recipe(onnx, monkeypatch):
    class Session:
        def get_inputs(self):
            return [SimpleNamespace(name="input_ids"), SimpleNamespace(name="position_ids")]

    monkeypatch.setattr(onnx[0].auto_model, "model", Session())
    assert library().recipe_of(onnx) is None


@pytest.mark.parametrize(("pooling", "same"), [("mean", True), ("cls", False)])
def test_a_recipe_is_believed_where_it_gives_the_library_s_vectors(exported, loaded, pooling, same):
    recipe = exported.recipe.model_copy(update={"pooling": pooling, "prompts": loaded.prompts})
    assert library().agrees(library()._encoder(exported.directory, recipe), loaded) is same


async def test_a_model_whose_own_code_gives_other_vectors_is_left_to_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(library(), "agrees", lambda *_: False)
    made, opened = await vectors(tmp_path, backend="onnx")
    assert isinstance(opened._encoder, library().LibraryEncoder)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
