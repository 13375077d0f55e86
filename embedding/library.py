"""sentence-transformers: it makes the exports, and runs the models that we cannot run by a recipe.

Importing it takes many seconds, so nothing else imports this module before one of the two is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.embeddings.huggingface.utils import (
    get_query_instruct_for_model_name,
    get_text_instruct_for_model_name,
)
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedding.encoders import EmbeddingRecipe, OnnxEncoder
from embedding.exports import ONNX_FILE
from embedding.onnx_model import INPUTS, Batch, OnnxModel, session_options

if TYPE_CHECKING:
    from config.settings import EmbeddingSettings
    from embedding.encoders import Encoder
    from embedding.files import ModelFiles

CPU_BATCH = {"query": 8, "text": 4}
"""Texts in one call on a CPU: sentence-transformers knows batches by their number of texts only."""

AGREEMENT = 0.9999
"""Cosine to sentence-transformers' own vectors below which its code is used instead of ours."""

PROBES = ("Which one?", "A row version is kept until no transaction can see it any more. " * 8)


class LibraryEncoder:
    """A model called through sentence-transformers, which sorts and pads by itself: any backend, any modules."""

    threads = 1

    def __init__(
        self, model: SentenceTransformer, *, normalize: bool, batch_size: int, on_cpu: bool, only_pools: bool = False
    ) -> None:
        self._model = model
        self._only_pools = only_pools
        self._normalize = normalize
        self._batch_size = {name: min(batch_size, most) if on_cpu else batch_size for name, most in CPU_BATCH.items()}

    def batches(self, texts: Sequence[str], *, prompt: str) -> list[Batch]:
        """Put everything into one batch, as sentence-transformers makes its own."""
        return [Batch(np.arange(len(texts)), (list(texts), prompt))] if texts else []

    def encode(self, batch: Batch) -> NDArray[np.float32]:
        """Embed the texts."""
        texts, prompt = batch.inputs
        vectors: Any = self._model.encode(
            texts,
            batch_size=self._batch_size[prompt],
            prompt_name=prompt,
            normalize_embeddings=self._normalize,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return vectors.astype("float32", copy=False)  # type: ignore[no-any-return]

    def settle(self) -> None:
        """Let torch work on this thread alone where it only pools: its waiting threads take cores from the model's."""
        if self._only_pools:
            import torch

            torch.set_num_threads(1)


def open_library_encoder(
    files: ModelFiles,
    *,
    settings: EmbeddingSettings,
    backend: str,
    threads: int,
    export: Path | None = None,
    onnx_file: str = ONNX_FILE,
) -> LibraryEncoder:
    """Open the model by sentence-transformers; raises whatever that raises.

    Args:
        files: the model's.
        settings: how to call it.
        backend: torch, openvino or onnx.
        threads: of one call of an ONNX model.
        export: the directory of the ONNX model.
        onnx_file: in that directory.

    """
    own = {"query": settings.query_instruction, "text": settings.text_instruction}
    arguments: dict[str, Any] = {}
    if backend == "onnx":
        arguments = {
            "provider": "CPUExecutionProvider",
            "file_name": onnx_file,
            "session_options": session_options(threads=threads),
        }
    model = open_model(
        export or files.directory,
        prompts={name: own.get(name) or prompt for name, prompt in _known_prompts(files.name).items()},
        backend=backend,
        device=settings.device if backend == "torch" else "cpu",
        model_kwargs=arguments,
    )
    return LibraryEncoder(
        model,
        normalize=settings.normalize,
        batch_size=settings.batch_size,
        on_cpu=backend != "torch" or settings.device == "cpu",
        only_pools=backend != "torch",
    )


def open_model(
    directory: Path,
    *,
    prompts: dict[str, str],
    backend: str = "torch",
    device: str = "cpu",
    model_kwargs: dict[str, Any] | None = None,
) -> SentenceTransformer:
    """Return the model of a directory, of which no code is run; raises whatever sentence-transformers raises."""
    backends: Any = backend
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: SentenceTransformer = SentenceTransformer(
            str(directory),
            prompts=prompts,
            backend=backends,
            device=device,
            trust_remote_code=False,
            model_kwargs=model_kwargs or {},
        )
    return model


def export_model(files: ModelFiles, target: Path) -> EmbeddingRecipe | None:
    """Export the model into an empty directory; return the recipe, None where only sentence-transformers can run it.

    That is for models with modules other than transformer, pooling and normalisation, and for any whose vectors turn
    out to differ from those that sentence-transformers makes with torch. Raises whatever exporters raise.
    """
    prompts = _known_prompts(files.name)
    # a model that comes with an ONNX file of its own is exported too: one code path, one set of weights
    arguments = {"provider": "CPUExecutionProvider", "export": True}
    model = open_model(files.directory, prompts=prompts, backend="onnx", model_kwargs=arguments)
    model.save_pretrained(str(target))
    recipe = recipe_of(model)
    if recipe and not agrees(_encoder(target, recipe), open_model(files.directory, prompts=prompts)):
        recipe = None
    return recipe


def recipe_of(model: SentenceTransformer) -> EmbeddingRecipe | None:
    """Return what an `OnnxEncoder` has to know to run a model's ONNX file; None if that is not enough."""
    loaded: Any = model
    kinds = [type(module).__name__ for module in loaded]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return None
    tokenizer, pooling = loaded.tokenizer, loaded[1].pooling_mode
    if not tokenizer.is_fast or tokenizer.pad_token_id is None or not loaded.max_seq_length:
        return None
    if tokenizer.padding_side != "right" or pooling not in ("mean", "cls"):
        return None
    if not {given.name for given in loaded[0].auto_model.model.get_inputs()} <= INPUTS:
        return None
    return EmbeddingRecipe(
        max_tokens=loaded.max_seq_length,
        pad_id=tokenizer.pad_token_id,
        pooling=pooling,
        normalize="Normalize" in kinds,
        prompts=dict(loaded.prompts),
    )


def agrees(ours: Encoder, model: SentenceTransformer) -> bool:
    """Tell whether an encoder that does not normalise gives the vectors that sentence-transformers gives."""
    library = LibraryEncoder(model, normalize=False, batch_size=1, on_cpu=True)
    for prompt in CPU_BATCH:
        for probe in PROBES:
            one, other = (encoder.encode(encoder.batches([probe], prompt=prompt)[0])[0] for encoder in (ours, library))
            if one.shape != other.shape or not _are_alike(one, other):
                return False
    return True


def _known_prompts(model: str) -> dict[str, str]:
    """Return the instructions that LlamaIndex knows for a model by its hub name; empty where it knows none."""
    return {"query": get_query_instruct_for_model_name(model), "text": get_text_instruct_for_model_name(model)}


def _encoder(directory: Path, recipe: EmbeddingRecipe) -> OnnxEncoder:
    model = OnnxModel(directory, onnx_file=ONNX_FILE, recipe=recipe)
    return OnnxEncoder(model, recipe=recipe, prompts={}, normalize=False, threads=1, batch_size=1)


def _are_alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    return float(one @ other) >= AGREEMENT * max(lengths) ** 2
