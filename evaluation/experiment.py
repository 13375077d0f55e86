"""What a run of an evaluation asks, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.asking import Variant
from relevance.golden import GoldenQuestion


@dataclass(frozen=True, slots=True)
class Experiment:
    """What to ask of whom."""

    golden: Sequence[GoldenQuestion]
    collection: str
    k: int
    variants: Sequence[Variant]
