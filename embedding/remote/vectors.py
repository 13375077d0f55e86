"""Checking what a provider sent: as many vectors as texts, of one dimension, of numbers, of length one in the end."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedding.errors import EmbeddingFailed

LEAST_LENGTH = 1e-6


def decoded(vector: object) -> NDArray[np.float32]:
    """Return one vector of an answer: a list of numbers, or base64 of little-endian float32.

    Raises:
        EmbeddingFailed: it is neither.

    """
    try:
        if isinstance(vector, str):
            return np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4").astype(np.float32)
        if isinstance(vector, list) and not any(isinstance(number, str) for number in vector):
            with np.errstate(over="ignore"):  # it becomes infinite, and is refused for that
                return np.asarray(vector, dtype=np.float32).reshape(len(vector))
    except (ValueError, TypeError, OverflowError, binascii.Error):
        pass
    msg = "the embedding server sent a vector that is no list of numbers"
    raise EmbeddingFailed(msg)


def unit_vectors(vectors: Sequence[object], *, texts: int) -> NDArray[np.float32]:
    """Return the vectors of an answer, each of length one; shape (texts, dimension).

    Raises:
        EmbeddingFailed: there are fewer or more than texts, they differ in dimension, or one has no direction.

    """
    read = [decoded(vector) for vector in vectors]
    if len(read) != texts:
        msg = f"the embedding server sent {len(read)} vectors for {texts} texts"
        raise EmbeddingFailed(msg)
    if len({vector.shape for vector in read}) > 1 or any(not vector.size for vector in read):
        msg = "the embedding server sent vectors of different dimensions, or empty ones"
        raise EmbeddingFailed(msg)
    stacked = np.stack(read).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        msg = "the embedding server sent a vector with numbers that are none (NaN or infinite)"
        raise EmbeddingFailed(msg)
    if (lengths < LEAST_LENGTH).any():
        msg = "the embedding server sent a vector of zeros, which is near to nothing"
        raise EmbeddingFailed(msg)
    made: NDArray[np.float32] = (stacked / lengths).astype(np.float32)
    return made
