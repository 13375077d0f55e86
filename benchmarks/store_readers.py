"""Groups of readers for made-up documents: each reads a share of them, scattered over all topics or of whole topics.

A scattered share lies about as near to any question as the rest; of whole topics most lie far from a question, and the
nearest chunks of most questions are hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from storage.caller import WHOLE_TENANT

SHARES = {"half": 0.5, "fiftieth": 0.02, "four_hundredth": 0.0025, "few": 0.0001}
SPREADS = "scattered", "clustered"
GROUPS = tuple(f"{share}_{spread}" for share in SHARES for spread in SPREADS)

Members = Mapping[str, NDArray[np.bool_]]


def members(topics: NDArray[np.int64], *, seed: int) -> Members:
    """Return by group which documents it reads, one at the least, given the topic of each document.

    A clustered group reads whole topics, the last of them in part: its share is as large as the scattered one's.
    """
    rng = np.random.default_rng(seed)
    scattered = rng.permutation(len(topics))
    order = rng.permutation(topics.max(initial=0) + 1)[topics]
    clustered = np.empty_like(scattered)
    clustered[np.lexsort((scattered, order))] = np.arange(len(topics))
    return {
        f"{name}_{spread}": places < max(1, round(share * len(topics)))
        for name, share in SHARES.items()
        for spread, places in zip(SPREADS, (scattered, clustered), strict=True)
    }


def access_of(row: int, marks: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """Return ``documents.access`` of a chunk's document: its groups, and who sees all."""
    return [WHOLE_TENANT, *(f"group:{group}" for group in GROUPS if marks[group][row])]


def names_of(rows: Sequence[int], marks: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """Return the groups of each chunk as JSON members, for filters that leave what the groups read."""
    return ["".join(f', "{group}": 1' for group in GROUPS if marks[group][row]) for row in rows]
