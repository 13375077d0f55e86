"""A run: every golden question is asked of every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.asking import Asks, Found, Variant, request_body
from evaluation.errors import EvaluationRefused, QuestionFailed
from evaluation.experiment import Experiment
from evaluation.results import EngineResult, PassageResult, QuestionResult
from evaluation.summing import summed
from relevance.golden import GoldenPassage, GoldenQuestion
from relevance.judging import LEVELS, is_right, ranking
from relevance.metrics import ranking_scores

if TYPE_CHECKING:
    from evaluation.judges import Judges

EXCERPT = 300  # characters of a passage in the results
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    golden: GoldenQuestion
    found: Found | None
    error: str | None = None


async def run_experiment(
    experiment: Experiment, asks: Asks, *, judges: Judges | None = None, progress: Progress = lambda _done, _total: None
) -> list[EngineResult]:
    """Ask all questions of all engines, one at a time, so that they do not slow each other down.

    The first engine that is asked a question warms the database for the next, so they take turns at being first.

    Raises:
        EvaluationRefused: an engine fails on the first question.

    """
    await _warm_up(experiment, asks)
    outcomes: dict[str, list[_Outcome]] = {variant.name: [] for variant in experiment.variants}
    total, done = len(experiment.golden) * len(experiment.variants), 0
    for number, golden in enumerate(experiment.golden):
        turn = number % len(experiment.variants)
        for variant in [*experiment.variants[turn:], *experiment.variants[:turn]]:
            outcomes[variant.name].append(await _asked(golden, experiment, variant, asks))
            done += 1
            progress(done, total)
    results = []
    for variant in experiment.variants:
        questions = _scored(outcomes[variant.name], k=experiment.k)
        if judges is not None:
            questions = await judges.judged(questions, experiment=experiment, variant=variant, asks=asks)
        found = next((each.found for each in outcomes[variant.name] if each.found), None)
        results.append(summed(questions, engine=variant.name, generation=found.generation if found else ""))
    return results


async def _warm_up(experiment: Experiment, asks: Asks) -> None:
    for golden in experiment.golden:
        for variant in experiment.variants:
            request_body(golden, collection=experiment.collection, k=experiment.k, variant=variant)
    for variant in experiment.variants:
        body = request_body(experiment.golden[0], collection=experiment.collection, k=experiment.k, variant=variant)
        try:
            await asks.retrieve(body)
        except QuestionFailed as exc:
            msg = f"{variant.name}: {exc}"
            raise EvaluationRefused(msg) from exc


async def _asked(golden: GoldenQuestion, experiment: Experiment, variant: Variant, asks: Asks) -> _Outcome:
    body = request_body(golden, collection=experiment.collection, k=experiment.k, variant=variant)
    try:
        return _Outcome(golden, await asks.retrieve(body))
    except QuestionFailed as exc:
        return _Outcome(golden, None, str(exc))


def _scored(outcomes: Sequence[_Outcome], *, k: int) -> list[QuestionResult]:
    metrics: list[dict[str, dict[str, float]]] = [{} for _ in outcomes]
    for level in LEVELS:
        ranked = [
            (place, made)
            for place, outcome in enumerate(outcomes)
            if outcome.found and (made := ranking(outcome.golden, outcome.found.passages, level=level))
        ]
        scores = ranking_scores([made for _, made in ranked], k=k) if ranked else []
        for (place, _), score in zip(ranked, scores, strict=True):
            metrics[place][level] = dict(score)
    return [_result(outcome, measured) for outcome, measured in zip(outcomes, metrics, strict=True)]


def _result(outcome: _Outcome, metrics: dict[str, dict[str, float]]) -> QuestionResult:
    golden, found = outcome.golden, outcome.found
    return QuestionResult(
        id=golden.key,
        question=golden.question,
        kind=golden.kind,
        unanswerable=golden.unanswerable,
        expected=_expected(golden),
        metrics=metrics,
        latency_ms=round(found.latency_ms, 3) if found else 0.0,
        timings_ms=dict(found.timings_ms) if found else {},
        found=_passages(golden, found) if found else [],
        error=outcome.error,
    )


def _passages(golden: GoldenQuestion, found: Found) -> list[PassageResult]:
    return [
        PassageResult(
            document_id=passage.document_id,
            source=passage.source,
            start=passage.start,
            end=passage.end,
            score=score,
            right=is_right(golden, passage),
            text=passage.text[:EXCERPT],
        )
        for passage, score in zip(found.passages, found.scores, strict=True)
    ]


def _expected(golden: GoldenQuestion) -> list[str]:
    if golden.unanswerable:
        return ["nothing: there is no answer"]
    passages = [_named(passage) for passage in golden.passages]
    answers = [f"a passage with “{answer}”" for answer in golden.answers] if not passages else []
    return [*passages, *answers, *sorted(golden.documents)]


def _named(passage: GoldenPassage) -> str:
    where = f" of {passage.document}" if passage.document else ""
    return f"“{passage.text[:EXCERPT]}”{where}" if passage.text else f"{passage.start}–{passage.end}{where}"  # noqa: RUF001 (a range)
