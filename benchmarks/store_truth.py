"""The nearest neighbours of each question by exact search, with filters and without, found as the chunks are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.store_readers import GROUPS
from benchmarks.synthetic_chunks import Block, Question
from storage.search.filters import Filter, FilterGroup

TOP = 10
VALUES = {"team": 50, "customer": 400, "shelf": 50}  # a question filters by one value in so many
LIGHT = 200  # of 10,000 weights
FILTERS = (None, *VALUES, "weight", *GROUPS)


def filter_of(key: str | None, number: int) -> FilterGroup | None:
    """Return the filter by this key that the question of this number is asked with."""
    if key is None:
        return None
    if key == "weight":
        return FilterGroup(filters=[Filter(key=key, operator="<", value=LIGHT)])
    if key in GROUPS:
        return FilterGroup(filters=[Filter(key=key, value=1)])
    return FilterGroup(filters=[Filter(key=key, value=number % VALUES[key])])


class Truth:
    """Collects the ten best chunks of each question for each filter."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._asked = np.stack([question.embedding for question in questions])
        empty = (len(questions), TOP)
        self._scores = {key: np.full(empty, -np.inf, dtype=np.float32) for key in FILTERS}
        self._rows = {key: np.full(empty, -1, dtype=np.int64) for key in FILTERS}
        self._seen = 0

    def add(self, block: Block) -> None:
        """Take the next chunks into account."""
        scores = self._asked @ block.vectors.T
        rows = np.broadcast_to(np.arange(self._seen, self._seen + len(block.chunks)), scores.shape)
        self._seen += len(block.chunks)
        for key in FILTERS:
            masked = scores if key is None else np.where(self._mask(key, block), scores, -np.inf)
            all_scores = np.concatenate([self._scores[key], masked], axis=1)
            all_rows = np.concatenate([self._rows[key], rows], axis=1)
            best = np.argpartition(-all_scores, TOP, axis=1)[:, :TOP]
            self._scores[key] = np.take_along_axis(all_scores, best, axis=1)
            rows_of_best = np.take_along_axis(all_rows, best, axis=1)
            self._rows[key] = np.where(np.isfinite(self._scores[key]), rows_of_best, -1)

    def save(self, path: Path) -> None:
        """Keep what was found."""
        np.savez(path, allow_pickle=False, **{key or "all": rows for key, rows in self._rows.items()})

    def _mask(self, key: str, block: Block) -> NDArray[np.bool_]:
        if key == "weight":
            return np.asarray(block.marks[key] < LIGHT)[None, :]
        if key in GROUPS:
            return np.asarray(block.marks[key] == 1)[None, :]
        wanted = np.arange(len(self._asked)) % VALUES[key]
        return np.asarray(block.marks[key][None, :] == wanted[:, None])


def read_truth(path: Path) -> dict[str | None, list[set[int]]]:
    """Return the numbers of each question's best chunks, by filter."""
    with np.load(path) as kept:
        return {key: [set(row.tolist()) - {-1} for row in kept[key or "all"]] for key in FILTERS}
