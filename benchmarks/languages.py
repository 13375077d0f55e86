"""What a model is worth for German: whose passage is nearest to a question that shares few words with it.

The set, ``german.json``, was made for this: forty paragraphs, each with a question as people ask. The model is the one
that the environment names (``FOOTNOTE_EMBEDDING__…``), beside the bundled one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import table
from config.settings import EmbeddingSettings, Settings, load_settings
from embedding.embedder import Embedder
from embedding.opening import open_embedder

SET = Path(__file__).with_name("german.json")


def run(_options: argparse.Namespace) -> str:
    """Measure; return the table."""
    configured = load_settings()
    models = {"bundled": configured.model_copy(update={"embedding": EmbeddingSettings()}), "configured": configured}
    return table(
        ["model", "hit at 1", "hit at 3", "cosine of the right one, lowest", "of the nearest wrong one, highest"],
        [_row(name, settings) for name, settings in models.items()],
    )


def _row(name: str, settings: Settings) -> list[str]:
    pairs = json.loads(SET.read_text("utf-8"))
    embedder = open_embedder(settings)
    try:
        cosines = asyncio.run(_cosines(embedder, pairs))
    finally:
        embedder.close()
    own = np.diag(cosines)
    better = (cosines > own[:, None]).sum(axis=1)
    wrong = (cosines - 2 * np.eye(len(own))).max(axis=1)
    shown = f"{name}: {embedder.identity.model}"
    return [shown, *(f"{(better < k).mean():.2f}" for k in (1, 3)), f"{own.min():.2f}", f"{wrong.max():.2f}"]


async def _cosines(embedder: Embedder, pairs: Sequence[Mapping[str, str]]) -> NDArray[np.float32]:
    passages = await embedder.texts([pair["text"] for pair in pairs])
    questions = np.stack([await embedder.query(pair["question"]) for pair in pairs])
    cosines: NDArray[np.float32] = questions @ passages.T
    return cosines
