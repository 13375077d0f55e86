"""Comparing two engines, or one engine with different settings, question by question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from evaluation.errors import EvaluationRefused
from evaluation.results import EngineResult, QuestionResult, RunResult
from relevance.judging import LEVELS
from relevance.significance import Difference, difference

MAX_CHANGED = 20


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison."""

    name: str
    result: EngineResult


@dataclass(frozen=True, slots=True)
class Change:
    """A question with different results; `before` and `after` are the main metric's values."""

    question: str
    kind: str
    before: float
    after: float
    first: QuestionResult
    second: QuestionResult


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the second differs from the first, over the questions that both have.

    Attributes:
        differences: by level and metric, most exact level first; and ``judged``.
        main: level and metric of `changes`.
        changes: the questions that changed most, losses and gains alike, largest first.
        left_out: questions that only one of the two has.

    """

    first: Side
    second: Side
    questions: int
    left_out: int
    differences: dict[str, dict[str, Difference]]
    main: tuple[str, str] | None
    changes: tuple[Change, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        return {
            "first": self.first.name,
            "second": self.second.name,
            "questions": self.questions,
            "left_out": self.left_out,
            "differences": {
                level: {name: asdict(found) for name, found in by_name.items()}
                for level, by_name in self.differences.items()
            },
            "main": list(self.main) if self.main else None,
            "changes": [
                {"question": each.question, "kind": each.kind, "before": each.before, "after": each.after}
                for each in self.changes
            ],
        }


def compare(first: Side, second: Side) -> Comparison:
    """Compare two results of the same questions.

    Raises:
        EvaluationRefused: they have no question in common.

    """
    pairs = list(_pairs(first.result, second.result))
    if not pairs:
        msg = f"{first.name} and {second.name} have no question in common"
        raise EvaluationRefused(msg)
    differences = {level: found for level in LEVELS if (found := _differences(_level(pairs, level)))}
    judged = _differences([(a.answer.scores, b.answer.scores) for a, b in pairs if a.answer and b.answer])
    main = next(((level, name) for level, found in differences.items() for name in found), None)
    known = len(first.result.questions) + len(second.result.questions)
    return Comparison(
        first=first,
        second=second,
        questions=len(pairs),
        left_out=known - 2 * len(pairs),
        differences=differences | ({"judged": judged} if judged else {}),
        main=main,
        changes=tuple(_changes(pairs, *main)) if main else (),
    )


def within(run: RunResult) -> list[Comparison]:
    """Compare each engine of a run with the first one."""
    first, *others = [Side(result.engine, result) for result in run.engines]
    return [compare(first, other) for other in others]


def between(first: RunResult, second: RunResult, *, names: tuple[str, str]) -> list[Comparison]:
    """Compare two runs, engine by engine; if each has only one, whatever their names.

    Raises:
        EvaluationRefused: they have no engine, or no question, in common.

    """
    if len(first.engines) == len(second.engines) == 1:
        pairs = [(first.engines[0], second.engines[0])]
    else:
        others = {result.engine: result for result in second.engines}
        pairs = [(result, others[result.engine]) for result in first.engines if result.engine in others]
    if not pairs:
        msg = f"{names[0]} and {names[1]} have no engine in common; name one of each with --engine A,B"
        raise EvaluationRefused(msg)
    return [
        compare(Side(f"{names[0]}: {before.engine}", before), Side(f"{names[1]}: {after.engine}", after))
        for before, after in pairs
    ]


def only(run: RunResult, engine: str) -> RunResult:
    """Return a run reduced to one of its engines.

    Raises:
        EvaluationRefused: it has no engine of that name.

    """
    chosen = [result for result in run.engines if result.engine == engine]
    if not chosen:
        msg = f"there is no engine {engine!r} in it; there are {', '.join(result.engine for result in run.engines)}"
        raise EvaluationRefused(msg)
    return run.model_copy(update={"engines": chosen})


Pair = tuple[QuestionResult, QuestionResult]


def _pairs(first: EngineResult, second: EngineResult) -> Iterator[Pair]:
    others = {each.id: each for each in second.questions if each.error is None}
    for each in first.questions:
        other = others.get(each.id)
        if each.error is None and other and other.question == each.question:
            yield each, other


def _level(pairs: Sequence[Pair], level: str) -> list[tuple[dict[str, float], dict[str, float]]]:
    return [(a.metrics[level], b.metrics[level]) for a, b in pairs if level in a.metrics and level in b.metrics]


def _differences(scores: Sequence[tuple[dict[str, float], dict[str, float]]]) -> dict[str, Difference]:
    names = dict.fromkeys(name for before, after in scores for name in before if name in after)
    found = {}
    for name in names:
        both = [(before[name], after[name]) for before, after in scores if name in before and name in after]
        found[name] = difference([before for before, _ in both], [after for _, after in both])
    return found


def _changes(pairs: Sequence[Pair], level: str, name: str) -> list[Change]:
    changes = [
        Change(a.question, a.kind, a.metrics[level][name], b.metrics[level][name], a, b)
        for a, b in pairs
        if name in a.metrics.get(level, {}) and name in b.metrics.get(level, {})
    ]
    changed = [each for each in changes if each.before != each.after]
    return sorted(changed, key=lambda each: -abs(each.after - each.before))[:MAX_CHANGED]
