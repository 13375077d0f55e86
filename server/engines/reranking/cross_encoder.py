"""How question and passages become scores: what a scorer is, and the one that runs an export by its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embedding.exports import Recipe

if TYPE_CHECKING:
    from embedding.onnx_model import Batch, OnnxModel

BATCH_SIZE = 8
"""Passages in one call of the model, at most."""

MAX_TOKENS = 512
"""Tokens of question and passage together that are read; the rest is cut off."""

BATCH_SIZE = 8
"""Passages in one call of the model, at most."""

MAX_TOKENS = 512
"""Tokens of question and passage together that are read; the rest is cut off."""

CALL_TOKENS = 512
"""In one call of the model, unless one pair has more: a time limit ends the work between two calls."""


class CrossEncoderRecipe(Recipe):
    """How to score with an exported model; `activation` makes a score of what it returns."""

    activation: Literal["Sigmoid", "Identity"]


class Scorer(Protocol):
    """A loaded model: `threads` of them may call it at once."""

    threads: int

    def batches(self, question: str, passages: Sequence[str]) -> list[Batch]:
        """Prepare the pairs, cut to the model's length."""
        ...

    def scores(self, batch: Batch) -> NDArray[np.float64]:
        """Return the scores of a batch, one a pair; raises whatever the model raises."""
        ...


class OnnxScorer:
    """An export run by its recipe."""

    def __init__(self, model: OnnxModel, *, recipe: CrossEncoderRecipe, threads: int) -> None:
        self.threads = threads
        self._model = model
        self._is_sigmoid = recipe.activation == "Sigmoid"

    def batches(self, question: str, passages: Sequence[str]) -> list[Batch]:
        """Tokenise the pairs, on all cores, and group those of like length; the longest come first."""
        pairs = [(question, passage) for passage in passages]
        return self._model.batches(pairs, tokens=CALL_TOKENS, most=BATCH_SIZE)

    def scores(self, batch: Batch) -> NDArray[np.float64]:
        """Run the model."""
        logits, _ = self._model.run(batch)
        scores: NDArray[np.float64] = np.asarray(logits, dtype=np.float64)[:, 0]
        return 1 / (1 + np.exp(-scores)) if self._is_sigmoid else scores
