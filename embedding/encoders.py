"""How the loaded model is called: through sentence-transformers, or straight through ONNX Runtime where that agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedding.batches import plan

if TYPE_CHECKING:
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from onnxruntime import InferenceSession
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

# What is between two layers must fit a core's cache: one passage of 256 tokens at a time, on each core its own, went
# a sixth faster than four at a time on all cores together; short texts are fastest at about as many tokens.
CALL_TOKENS = 256
# The same for calls through sentence-transformers, which knows batches by their number of texts only.
CPU_BATCH = {"query": 8, "text": 4}
AGREEMENT = 0.9999  # cosine to sentence-transformers' own vectors below which its code is used instead of ours
_PROBES = ("Which one?", "A row version is kept until no transaction can see it any more. " * 8)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts for one call of the model.

    Attributes:
        places: where their vectors belong among all that were asked for.
        inputs: what the encoder that made the batch reads.

    """

    places: NDArray[np.intp]
    inputs: Any


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
        # HuggingFaceEmbedding's own call makes lists of the arrays and sleeps four seconds before it tries again
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


class OnnxEncoder:
    """A model called straight through ONNX Runtime: tokenised once, batched by tokens, pooled without torch.

    The session works on the thread that calls it. Threads that each run a batch of their own never wait for one
    another, as those that share a batch do whenever another process takes one of the cores.
    """

    def __init__(
        self,
        session: InferenceSession,
        *,
        tokenizer: Tokenizer,
        prompts: dict[str, str],
        pooling: str,
        normalize: bool,
        pad_id: int,
        threads: int,
        batch_size: int,
    ) -> None:
        self.threads = threads
        self._session = session
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._pooling = pooling
        self._normalize = normalize
        self._pad_id = pad_id
        self._batch_size = batch_size
        self._inputs = {given.name for given in session.get_inputs()}

    def batches(self, texts: Sequence[str], *, prompt: str) -> list[Batch]:
        """Tokenise the texts, on all cores, and group those of like length; the longest come first."""
        prefix = self._prompts.get(prompt) or ""
        encoded = self._tokenizer.encode_batch_fast([prefix + text for text in texts])
        ids = [np.asarray(each.ids, dtype=np.int64) for each in encoded]
        groups = plan([len(each) for each in ids], tokens=CALL_TOKENS, texts=self._batch_size)
        return [Batch(places, [ids[place] for place in places]) for places in groups]

    def encode(self, batch: Batch) -> NDArray[np.float32]:
        """Run the model and pool what it says of the tokens."""
        lengths = np.array([len(ids) for ids in batch.inputs])
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens = np.full(mask.shape, self._pad_id, dtype=np.int64)
        tokens[mask] = np.concatenate(batch.inputs)
        given = {"input_ids": tokens, "attention_mask": mask.astype(np.int64), "token_type_ids": np.zeros_like(tokens)}
        states = self._session.run(None, {name: given[name] for name in self._inputs})[0]
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


def onnx_encoder(embedding: HuggingFaceEmbedding, *, threads: int, batch_size: int) -> OnnxEncoder | None:
    """Return an encoder around a loaded model's ONNX session; None where only sentence-transformers can tell how.

    That is for models with modules other than transformer, pooling and normalisation, and for any whose vectors
    turn out to differ from sentence-transformers' own.
    """
    model: Any = embedding._model  # noqa: SLF001 (HuggingFaceEmbedding has no public way to it)
    kinds = [type(module).__name__ for module in model]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return None
    tokenizer, pooling = model.tokenizer, model[1]
    if not tokenizer.is_fast or tokenizer.padding_side != "right" or pooling.pooling_mode not in ("mean", "cls"):
        return None
    session = model[0].auto_model.model
    if not {given.name for given in session.get_inputs()} <= {"input_ids", "attention_mask", "token_type_ids"}:
        return None
    made = OnnxEncoder(
        session,
        tokenizer=_cutting(tokenizer.backend_tokenizer, max_tokens=model.max_seq_length),
        prompts=dict(model.prompts),
        pooling=pooling.pooling_mode,
        normalize=embedding.normalize or "Normalize" in kinds,
        pad_id=tokenizer.pad_token_id,
        threads=threads,
        batch_size=batch_size,
    )
    return (
        made if _agrees(made, LibraryEncoder(model, normalize=embedding.normalize, batch_size=1, on_cpu=True)) else None
    )


def _cutting(tokenizer: Tokenizer, *, max_tokens: int) -> Tokenizer:
    """Return a copy that cuts and does not pad: transformers changes these settings of its own from call to call."""
    copy: Tokenizer = type(tokenizer).from_str(tokenizer.to_str())
    copy.enable_truncation(max_tokens)
    copy.no_padding()
    return copy


def _agrees(ours: Encoder, library: Encoder) -> bool:
    for prompt in CPU_BATCH:
        for probe in _PROBES:
            one, other = (encoder.encode(encoder.batches([probe], prompt=prompt)[0])[0] for encoder in (ours, library))
            if one.shape != other.shape or not _alike(one, other):
                return False
    return True


def _alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    return float(one @ other) >= AGREEMENT * max(lengths) ** 2
