"""Extractive summaries: representative sentences, quoted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from server.engines.writing.extraction import quotable_sentences
from server.engines.writing.prompts import Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding.embedder import Embedder

SENTENCES = 48  # embedded for one summary
QUOTED = 5
ASKED = 0.5  # weight of similarity to the question; similarity to the centroid has weight 1
REPEATED = 0.7  # weight of similarity to sentences already selected


async def overview(question: str, passages: Sequence[Passage], *, embedder: Embedder) -> list[str]:
    """Return representative sentences that are close to the question, in the passages' order, each cited.

    They are taken evenly from all passages: those nearest to the centroid, and far from each other
    (maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998).
    """
    sampled = _sampled(passages)
    if not sampled:
        return []
    vectors = await embedder.queries([question, *(text for _, text in sampled)])
    best = _central(vectors[1:], vectors[0])
    return [f"“{sampled[place][1]}” [{sampled[place][0]}]" for place in best]


def _sampled(passages: Sequence[Passage]) -> list[tuple[int, str]]:
    """Return (number of the passage, sentence), equally many of each passage, spread over it."""
    found: list[tuple[int, str]] = []
    for number, passage in enumerate(passages[:SENTENCES], start=1):
        texts = list(dict.fromkeys(quotable_sentences(passage.text)))
        most = max(1, SENTENCES // max(1, len(passages)))
        step = max(1.0, len(texts) / most)
        found += [(number, texts[int(place * step)]) for place in range(min(most, len(texts)))]
    return found


def _central(vectors: NDArray[np.float32], question: NDArray[np.float32]) -> list[int]:
    """Return the indexes of the sentences to quote, in order."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    question = question / max(float(np.linalg.norm(question)), 1e-9)
    middle = units.mean(axis=0)
    worth = units @ (middle / max(float(np.linalg.norm(middle)), 1e-9)) + ASKED * (units @ question)
    chosen: list[int] = []
    while len(chosen) < min(QUOTED, len(units)):
        likeness = (units @ units[chosen].T).max(axis=1) if chosen else np.zeros(len(units))
        left = worth - REPEATED * likeness
        left[chosen] = -np.inf
        chosen.append(int(left.argmax()))
    return sorted(chosen)
