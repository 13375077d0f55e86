"""Confidence intervals of means, and significance of differences.

Intervals are bootstrapped over the questions (Efron, Annals of Statistics 7(1), 1979; for retrieval: Sakai, SIGIR
2006), percentiles of the resampled means. A difference is tested by a paired randomization test (Fisher, 1935; for
retrieval: Smucker, Allan and Carterette, CIKM 2007): the signs of the questions' differences are flipped at random.
Both by scipy, and seeded: the same numbers give the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SEED = 20_240_229
RESAMPLES = 4000
BATCH = 500  # resamples per batch: bounds memory
CONFIDENCE = 0.95
TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval, over so many questions."""

    mean: float
    low: float
    high: float
    questions: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The paired difference of two systems, second less first.

    Attributes:
        first, second: their means.
        interval: of the difference, second less first.
        p_value: two-sided.
        wins, losses, ties: number of questions for which the second is better, worse, the same.

    """

    first: float
    second: float
    interval: Interval
    p_value: float
    wins: int
    losses: int
    ties: int


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least one value with its interval."""
    import numpy as np
    from scipy.stats import bootstrap

    data = np.asarray(values, dtype=float)
    mean = float(data.mean())
    if np.ptp(data) < TIE:  # without variance, resamples are all the same
        return Interval(mean, mean, mean, len(data))
    found = bootstrap(
        (data,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(data))


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two systems' values for the same questions, at least one.

    Raises:
        ValueError: they differ in number.

    """
    pairs = [(after - before) for before, after in zip(first, second, strict=True)]
    return Difference(
        first=sum(first) / len(first),
        second=sum(second) / len(second),
        interval=interval(pairs),
        p_value=_p_value(pairs),
        wins=sum(each > TIE for each in pairs),
        losses=sum(each < -TIE for each in pairs),
        ties=sum(abs(each) <= TIE for each in pairs),
    )


def _p_value(differences: Sequence[float]) -> float:
    import numpy as np
    from scipy.stats import permutation_test

    data = np.asarray([each for each in differences if abs(each) > TIE])  # a tie's sign changes nothing
    if len(data) < 2:  # noqa: PLR2004 (one difference is as likely as its opposite)
        return 1.0
    found = permutation_test(
        (data,),
        np.sum,
        permutation_type="samples",
        n_resamples=2 * RESAMPLES,
        batch=BATCH,
        vectorized=True,
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)
