"""Floors: minimum values of metrics, ``ndcg@10=0.8``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evaluation.errors import EvaluationRefused
from evaluation.results import JUDGED, EngineResult, FloorResult
from relevance.judging import LEVELS
from relevance.metrics import metric_names

_FLOOR = re.compile(r"(?:(?P<level>passages|documents)\.)?(?P<name>[a-z0-9@_-]+)=(?P<least>[0-9.]+)")
NO_ANSWER = ("no-answer-rate", "no-answer-precision")


@dataclass(frozen=True, slots=True)
class Floor:
    """The minimum value of a metric; without a level, on each level."""

    level: str | None
    name: str
    least: float

    def __str__(self) -> str:
        """Return it as written on the command line."""
        return f"{self.level + '.' if self.level else ''}{self.name}={self.least:g}"


def read_floors(given: Sequence[str], *, k: int) -> list[Floor]:
    """Read floors.

    Raises:
        EvaluationRefused: one cannot be parsed.

    """
    return [_floor(text, k=k) for text in given]


def held(floors: Sequence[Floor], results: Sequence[EngineResult]) -> list[FloorResult]:
    """Check every engine against every floor; a missing metric misses it."""
    return [
        FloorResult(
            floor=str(floor),
            engine=result.engine,
            value=(value := min(_values(floor, result), default=None)),
            held=value is not None and value >= floor.least,
        )
        for floor in floors
        for result in results
    ]


def _floor(text: str, *, k: int) -> Floor:
    known = [*metric_names(k), *NO_ANSWER, *JUDGED]
    found = _FLOOR.fullmatch(text)
    if found is None or found["name"] not in known or not _is_number(found["least"]):
        msg = (
            f"--floor {text[:80]}: NAME=LEAST is wanted, such as {known[0]}=0.8; names are {', '.join(known)}, "
            f"the first {len(metric_names(k))} also as {' or '.join(f'{level}.{known[0]}' for level in LEVELS)}"
        )
        raise EvaluationRefused(msg)
    return Floor(found["level"], found["name"], float(found["least"]))


def _values(floor: Floor, result: EngineResult) -> Iterator[float]:
    for level, figures in result.metrics.items():
        if floor.level in (None, level) and floor.name in figures:
            yield figures[floor.name].mean
    if floor.name in result.judged:
        yield result.judged[floor.name].mean
    if floor.name in NO_ANSWER and result.no_answer is not None:
        value = result.no_answer.rate if floor.name == NO_ANSWER[0] else result.no_answer.precision
        yield from [] if value is None else [value]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
