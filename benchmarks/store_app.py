"""Footnote over the benchmark's made-up chunks: ``python -m benchmarks.store_app QUESTIONS``, else as ``-m server``.

The vectors of the questions come out of a file, as the chunks' own are made up, too; that takes no time, so that what
is measured is everything but the model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import server.runtime
from benchmarks.store_load import MADE_UP
from config.settings import EmbeddingSettings
from embedding.files import find_model
from server.__main__ import main


class KnownVectors:
    """An embedding model that knows some texts by heart; all others are alike to it."""

    def __init__(self, file: Path) -> None:
        self.files = find_model(EmbeddingSettings())  # its tokenizer counts tokens
        self.identity = MADE_UP
        with np.load(file) as kept:
            self._vectors = dict(zip(kept["texts"].tolist(), kept["vectors"], strict=True))

    async def query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a question."""
        return np.asarray((await self.texts([text]))[0])

    async def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts."""
        unknown = np.eye(1, MADE_UP.dimension, dtype=np.float32)[0]
        return np.stack([self._vectors.get(text, unknown) for text in texts])

    queries = texts

    def close(self) -> None:
        """Have nothing to close."""


if __name__ == "__main__":
    questions = Path(sys.argv.pop(1))
    server.runtime.open_embedder = lambda _: KnownVectors(questions)  # type: ignore[attr-defined,assignment,return-value]
    sys.exit(main())
