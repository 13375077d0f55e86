"""Which texts go through the model together: those of like length, so that little is computed for padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def plan(lengths: Sequence[int], *, tokens: int, texts: int) -> list[NDArray[np.intp]]:
    """Group texts, given by their lengths in tokens; return the places of each group, the longest texts first.

    Args:
        lengths: of the texts, special tokens included.
        tokens: that a group may have, padding included; a longer text is a group of its own.
        texts: that a group may have.

    """
    order = np.argsort(-np.asarray(lengths, dtype=np.intp), kind="stable")
    groups, begin = [], 0
    while begin < len(order):
        longest = max(1, lengths[order[begin]])  # the rest is shorter and is padded to it
        size = min(texts, max(1, tokens // longest))
        groups.append(order[begin : begin + size])
        begin += size
    return groups
