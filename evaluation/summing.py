"""Aggregating the results of questions to an engine's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from evaluation.results import EngineResult, Figure, NoAnswerResult, Percentiles, QuestionResult
from relevance.metrics import no_answers
from relevance.significance import interval


def summed(questions: Sequence[QuestionResult], *, engine: str, generation: str) -> EngineResult:
    """Return an engine's metrics; failed questions count only in `failed`."""
    known = [each for each in questions if each.error is None]
    kinds = sorted({each.kind for each in known if each.kind and each.metrics})
    return EngineResult(
        engine=engine,
        generation=generation,
        metrics=_metrics(known),
        kinds={kind: _metrics([each for each in known if each.kind == kind]) for kind in kinds},
        no_answer=_no_answer(known),
        latency_ms=percentiles([each.latency_ms for each in known]),
        stages_ms=_stages(known),
        judged=_figures([each.answer.scores for each in known if each.answer]),
        failed=len(questions) - len(known),
        questions=list(questions),
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return the median and the 95th percentile; zeros if there are no values."""
    import numpy as np

    if not values:
        return Percentiles(p50=0.0, p95=0.0)
    p50, p95 = np.percentile(np.asarray(values, dtype=float), (50, 95))
    return Percentiles(p50=round(float(p50), 3), p95=round(float(p95), 3))


def _metrics(questions: Sequence[QuestionResult]) -> dict[str, dict[str, Figure]]:
    levels = dict.fromkeys(level for each in questions for level in each.metrics)
    return {level: _figures([each.metrics[level] for each in questions if level in each.metrics]) for level in levels}


def _figures(scores: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    names = dict.fromkeys(name for each in scores for name in each)
    return {name: _figure([each[name] for each in scores if name in each]) for name in names}


def _figure(values: Sequence[float]) -> Figure:
    return Figure.model_validate(asdict(interval(values)))


def _no_answer(questions: Sequence[QuestionResult]) -> NoAnswerResult | None:
    judged = [(each.unanswerable, not each.found) for each in questions if each.unanswerable or each.metrics]
    counted = no_answers(judged)
    if not counted.unanswerable:
        return None
    return NoAnswerResult(**asdict(counted), rate=counted.rate, precision=counted.precision)


def _stages(questions: Sequence[QuestionResult]) -> dict[str, Percentiles]:
    names: Iterable[str] = dict.fromkeys(name for each in questions for name in each.timings_ms)
    stages = {name: [each.timings_ms.get(name, 0.0) for each in questions] for name in names if name != "total"}
    return {name: percentiles(values) for name, values in stages.items() if any(values)}
