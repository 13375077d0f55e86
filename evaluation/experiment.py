"""The plan of an evaluation run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.asking import Variant
from relevance.golden import GoldenQuestion


@dataclass(frozen=True, slots=True)
class Experiment:
    """The questions, engines and options of a run."""

    golden: Sequence[GoldenQuestion]
    collection: str
    k: int
    variants: Sequence[Variant]
