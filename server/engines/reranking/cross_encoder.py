"""How a loaded cross-encoder is called: straight through ONNX Runtime where that agrees, else by its library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedding.batches import plan

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from sentence_transformers import CrossEncoder
    from tokenizers import Tokenizer

BATCH_SIZE = 8
"""Passages in one call of the model, at most."""

MAX_TOKENS = 512
"""Tokens of question and passage together that are read; the rest is cut off."""

CALL_TOKENS = 512
"""In one call of the model, unless one pair has more: a time limit ends the work between two calls."""

AGREEMENT = 1e-3
"""How far a score may be from sentence-transformers' own; beyond it, that library's code is used instead of ours."""

PROBES = (
    ("Which one?", "That one."),
    ("How are dead rows removed?", "A row version is kept until no transaction can see it any more. " * 20),
)
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of question and passage for one call of the model.

    Attributes:
        places: of the passages among all that were given.
        inputs: what the scorer that made the batch reads.

    """

    places: NDArray[np.intp]
    inputs: Any


class Scorer(Protocol):
    """A loaded model: `threads` of them may call it at once."""

    threads: int

    def batches(self, question: str, passages: Sequence[str]) -> list[Batch]:
        """Prepare the pairs, cut to the model's length."""
        ...

    def scores(self, batch: Batch) -> NDArray[np.float64]:
        """Return the scores of a batch, one a pair; raises whatever the model raises."""
        ...


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


class OnnxScorer:
    """A model called straight through ONNX Runtime, on the thread that calls: several run side by side."""

    def __init__(
        self,
        session: InferenceSession,
        *,
        tokenizer: Tokenizer,
        pad_id: int,
        is_sigmoid: bool,
        threads: int,
        batch_size: int,
    ) -> None:
        self.threads = threads
        self._session = session
        self._tokenizer = tokenizer
        self._pad_id = pad_id
        self._is_sigmoid = is_sigmoid
        self._batch_size = batch_size
        self._inputs = [given.name for given in session.get_inputs()]

    def batches(self, question: str, passages: Sequence[str]) -> list[Batch]:
        """Tokenise the pairs, on all cores, and group those of like length; the longest come first."""
        encoded = self._tokenizer.encode_batch_fast([(question, passage) for passage in passages])
        pairs = [np.array([each.ids, each.type_ids], dtype=np.int64) for each in encoded]
        groups = plan([pair.shape[1] for pair in pairs], tokens=CALL_TOKENS, texts=self._batch_size)
        return [Batch(places, [pairs[place] for place in places]) for places in groups]

    def scores(self, batch: Batch) -> NDArray[np.float64]:
        """Run the model."""
        lengths = np.array([pair.shape[1] for pair in batch.inputs])
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens, types = np.full(mask.shape, self._pad_id, dtype=np.int64), np.zeros(mask.shape, dtype=np.int64)
        tokens[mask], types[mask] = np.concatenate(batch.inputs, axis=1)
        given = {"input_ids": tokens, "attention_mask": mask.astype(np.int64), "token_type_ids": types}
        (logits, *_) = self._session.run(None, {name: given[name] for name in self._inputs})
        scores: NDArray[np.float64] = np.asarray(logits, dtype=np.float64)[:, 0]
        return 1 / (1 + np.exp(-scores)) if self._is_sigmoid else scores


def onnx_scorer(model: CrossEncoder, *, threads: int, batch_size: int) -> OnnxScorer | None:
    """Return a scorer around a loaded model's ONNX session; None where only sentence-transformers can tell how.

    That is for models of other modules than one transformer, with prompts, and for any whose scores turn out to differ
    from sentence-transformers' own.
    """
    loaded: Any = model
    tokenizer, activation = loaded.tokenizer, type(loaded.activation_fn).__name__
    if len(loaded) != 1 or loaded.default_prompt_name or activation not in {"Sigmoid", "Identity"}:
        return None
    if not tokenizer.is_fast or tokenizer.padding_side != "right" or tokenizer.truncation_side != "right":
        return None
    session = loaded[0].auto_model.model
    if not {given.name for given in session.get_inputs()} <= _INPUTS:
        return None
    made = OnnxScorer(
        session,
        tokenizer=_cutting(tokenizer.backend_tokenizer, max_tokens=loaded.max_seq_length),
        pad_id=tokenizer.pad_token_id,
        is_sigmoid=activation == "Sigmoid",
        threads=threads,
        batch_size=batch_size,
    )
    return made if _agree(made, LibraryScorer(model, batch_size=1)) else None


def _cutting(tokenizer: Tokenizer, *, max_tokens: int) -> Tokenizer:
    """Return a copy that cuts and does not pad: transformers changes these settings of its own from call to call."""
    copy: Tokenizer = type(tokenizer).from_str(tokenizer.to_str())
    copy.enable_truncation(max_tokens, strategy="longest_first")
    copy.no_padding()
    return copy


def _agree(ours: Scorer, library: Scorer) -> bool:
    for question, passage in PROBES:
        one, other = (scorer.scores(scorer.batches(question, [passage])[0])[0] for scorer in (ours, library))
        if not abs(one - other) <= AGREEMENT:
            return False
    return True
