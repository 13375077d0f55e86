"""sentence-transformers: it exports cross-encoders, and runs those that we cannot run by a recipe.

Importing it takes many seconds, so nothing else imports this module before one of the two is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from config.settings import SettingsError
from embedding.batches import plan
from embedding.exports import ONNX_FILE
from embedding.onnx_model import INPUTS, Batch, OnnxModel, session_options
from server.engines.reranking.cross_encoder import BATCH_SIZE, MAX_TOKENS, CrossEncoderRecipe, OnnxScorer

if TYPE_CHECKING:
    from server.engines.reranking.cross_encoder import Scorer

AGREEMENT = 1e-3
"""How far a score may be from sentence-transformers' own; beyond it, that library's code is used instead of ours."""

PROBES = (
    ("Which one?", "That one."),
    ("How are dead rows removed?", "A row version is kept until no transaction can see it any more. " * 20),
)


class LibraryScorer:
    """A model called through sentence-transformers: any kind that it knows, on any device."""

    threads = 1

    def __init__(self, model: CrossEncoder, *, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size

    def batches(self, question: str, passages: Sequence[str]) -> list[Batch]:
        """Group passages of like length, the longest first."""
        groups = plan([len(passage) for passage in passages], tokens=2**31, texts=self._batch_size)
        return [Batch(places, [(question, passages[place]) for place in places]) for places in groups]

    def scores(self, batch: Batch) -> NDArray[np.float64]:
        """Score the pairs."""
        scores: Any = self._model.predict(batch.inputs, batch_size=len(batch.inputs), show_progress_bar=False)
        return np.asarray(scores, dtype=np.float64)


def open_library_scorer(directory: Path, *, export: Path | None = None, threads: int = 1) -> LibraryScorer:
    """Open a model by torch, or its ONNX export; raises whatever sentence-transformers raises.

    Raises:
        SettingsError: it is no reranker.

    """
    if export is None:
        model = _open(directory)
    else:
        arguments = {
            "provider": "CPUExecutionProvider",
            "file_name": ONNX_FILE,
            "session_options": session_options(threads=threads),
        }
        model = _open(export, model_kwargs=arguments)
    model.max_seq_length = min(MAX_TOKENS, model.max_seq_length or MAX_TOKENS)
    return LibraryScorer(model, batch_size=BATCH_SIZE)


def export_cross_encoder(directory: Path, target: Path) -> CrossEncoderRecipe | None:
    """Export a model into an empty directory; return the recipe, None where only sentence-transformers can run it.

    That is for models of other modules than one transformer, with prompts, and for any whose scores turn out to differ
    from those that sentence-transformers computes with torch. Raises whatever exporters raise.

    Raises:
        SettingsError: it is no reranker.

    """
    # a model that comes with an ONNX file of its own is exported too: one code path, one set of weights
    model = _open(directory, model_kwargs={"provider": "CPUExecutionProvider", "export": True})
    model.save_pretrained(str(target))
    recipe = _recipe_of(model)
    if recipe is None:
        return None
    ours = OnnxScorer(OnnxModel(target, onnx_file=ONNX_FILE, recipe=recipe), recipe=recipe, threads=1)
    return recipe if _agree(ours, LibraryScorer(_open(directory), batch_size=1)) else None


def _open(directory: Path, *, model_kwargs: dict[str, Any] | None = None) -> CrossEncoder:
    """Return a directory's model, of which no code is run: the ONNX one by `model_kwargs`, torch's without any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: CrossEncoder = CrossEncoder(
            str(directory),
            backend="onnx" if model_kwargs else "torch",
            device="cpu" if model_kwargs else None,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs=model_kwargs or {},
        )
    if model.num_labels != 1:
        msg = f"FOOTNOTE_RERANK__MODEL: {directory} gives {model.num_labels} scores a passage; a reranker gives one"
        raise SettingsError(msg)
    return model


def _recipe_of(model: CrossEncoder) -> CrossEncoderRecipe | None:
    loaded: Any = model
    tokenizer, activation = loaded.tokenizer, type(loaded.activation_fn).__name__
    if len(loaded) != 1 or loaded.default_prompt_name or activation not in {"Sigmoid", "Identity"}:
        return None
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        return None
    if tokenizer.padding_side != "right" or tokenizer.truncation_side != "right":
        return None
    if not {given.name for given in loaded[0].auto_model.model.get_inputs()} <= INPUTS:
        return None
    return CrossEncoderRecipe(
        max_tokens=loaded.max_seq_length or MAX_TOKENS, pad_id=tokenizer.pad_token_id, activation=activation
    )


def _agree(ours: Scorer, library: Scorer) -> bool:
    for question, passage in PROBES:
        one, other = (scorer.scores(scorer.batches(question, [passage])[0])[0] for scorer in (ours, library))
        if not abs(one - other) <= AGREEMENT:
            return False
    return True
