"""How texts become vectors: what an encoder is, and the one that runs an export by its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embedding.exports import INT8_FILE, ONNX_FILE, ExportKind, Recipe

if TYPE_CHECKING:
    from embedding.onnx_model import Batch, OnnxModel

# What is between two layers must fit a core's cache: one passage of 256 tokens at a time, on each core its own, went
# a sixth faster than four at a time on all cores together; short texts are fastest at about as many tokens.
CALL_TOKENS = 256
INT8 = "int8-7bit"
"""What distinguishes our int8 vectors from others: weights of 7 bits, which no kind of CPU has to saturate."""


class EmbeddingRecipe(Recipe):
    """How to make vectors with an exported model.

    Attributes:
        prompts: put before questions (``query``) and passages (``text``), where the settings have none.
        normalize: whether the model itself scales its vectors to length one.

    """

    pooling: Literal["mean", "cls"]
    normalize: bool
    prompts: dict[str, str]


def export_kind(model: str, revision: str, *, int8: bool) -> ExportKind[EmbeddingRecipe]:
    """Return which exports of an embedding model there are."""
    name = f"onnx-{revision.replace(' ', '-')}"
    return ExportKind(
        name=f"{name}-{INT8}" if int8 else name,
        model=model,
        revision=revision,
        recipe=EmbeddingRecipe,
        onnx_file=INT8_FILE if int8 else ONNX_FILE,
    )


class Encoder(Protocol):
    """A loaded model: `threads` of them may call it at once."""

    threads: int

    def batches(self, texts: Sequence[str], *, prompt: str) -> list[Batch]:
        """Prepare texts; `prompt` is ``query`` or ``text``."""
        ...

    def encode(self, batch: Batch) -> NDArray[np.float32]:
        """Return the vectors of a batch, shape (its texts, dimension); raises whatever the model raises."""
        ...

    def settle(self) -> None:
        """Prepare a thread that is going to call it."""
        ...


class OnnxEncoder:
    """An export run by its recipe."""

    def __init__(
        self,
        model: OnnxModel,
        *,
        recipe: EmbeddingRecipe,
        prompts: Mapping[str, str],
        normalize: bool,
        threads: int,
        batch_size: int,
    ) -> None:
        """Take a loaded model; `prompts` and `normalize` are the settings', the recipe's count too."""
        self.threads = threads
        self._model = model
        self._prompts = {**recipe.prompts, **prompts}
        self._pooling = recipe.pooling
        self._normalize = normalize or recipe.normalize
        self._batch_size = batch_size

    def batches(self, texts: Sequence[str], *, prompt: str) -> list[Batch]:
        """Tokenise the texts, on all cores, and group those of like length; the longest come first."""
        prefix = self._prompts.get(prompt, "")
        return self._model.batches([prefix + text for text in texts], tokens=CALL_TOKENS, most=self._batch_size)

    def encode(self, batch: Batch) -> NDArray[np.float32]:
        """Run the model and pool what it says of the tokens."""
        states, mask = self._model.run(batch)
        vectors = states[:, 0] if self._pooling == "cls" else _mean(states, mask)
        if self._normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.asarray(vectors, dtype=np.float32)

    def settle(self) -> None:
        """Do nothing: no library keeps anything for a thread."""


def _mean(states: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    weights = mask.astype(np.float32)
    means: NDArray[np.float32] = (weights[:, None] @ states)[:, 0] / weights.sum(axis=1, keepdims=True)
    return means
