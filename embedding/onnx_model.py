"""A model called straight through ONNX Runtime: tokenised once, batched by tokens; what encoders and scorers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedding.batches import plan
from embedding.exports import TOKENIZER_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from onnxruntime import SessionOptions

    from embedding.exports import Recipe

INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""What we can give a model."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts, or pairs of texts, for one call of a model.

    Attributes:
        places: of the texts among all that were given; where their results belong.
        inputs: what made the batch reads: `OnnxModel` an array of tokens and types a text, shape (2, tokens).

    """

    places: NDArray[np.intp]
    inputs: Any


class OnnxModel:
    """An exported model and its tokenizer.

    The session works on the thread that calls it. Threads that each run a batch of their own never wait for one
    another, as those that share a batch do whenever another process takes one of the cores.
    """

    def __init__(self, directory: Path, *, onnx_file: str, recipe: Recipe) -> None:
        """Load it."""
        import onnxruntime
        from tokenizers import Tokenizer

        self._session = onnxruntime.InferenceSession(
            directory / onnx_file, session_options(threads=1), providers=["CPUExecutionProvider"]
        )
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
        self._tokenizer.enable_truncation(recipe.max_tokens)
        self._tokenizer.no_padding()
        self._pad_id = recipe.pad_id

    def batches(self, texts: Sequence[str] | Sequence[tuple[str, str]], *, tokens: int, most: int) -> list[Batch]:
        """Tokenise texts or pairs, on all cores, and group those of like length; the longest come first.

        `tokens` and `most` bound a batch: its tokens with padding, unless one text has more, and its texts.
        """
        encoded = self._tokenizer.encode_batch_fast(list(texts))
        inputs = [np.array([each.ids, each.type_ids], dtype=np.int64) for each in encoded]
        groups = plan([each.shape[1] for each in inputs], tokens=tokens, texts=most)
        return [Batch(places, [inputs[place] for place in places]) for places in groups]

    def run(self, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the model's first output, and which tokens are none of the padding, shape (texts, tokens)."""
        lengths = np.array([each.shape[1] for each in batch.inputs])
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens, types = np.full(mask.shape, self._pad_id, dtype=np.int64), np.zeros(mask.shape, dtype=np.int64)
        tokens[mask], types[mask] = np.concatenate(batch.inputs, axis=1)
        given = {"input_ids": tokens, "attention_mask": mask.astype(np.int64), "token_type_ids": types}
        return self._session.run(None, {name: given[name] for name in self._inputs})[0], mask


def session_options(*, threads: int) -> SessionOptions:
    """Return the options of a session whose calls have so many threads each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # idle threads of the pool must sleep: spinning would take the cores from the event loop and from PostgreSQL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
