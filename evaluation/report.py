"""A run, or a comparison, as a self-contained HTML page: no scripts, fonts or images from elsewhere.

Questions and passages are untrusted: the template escapes everything but our own plots, and the page's content security
policy forbids loading and running anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation import plots

if TYPE_CHECKING:
    from jinja2 import Environment

    from evaluation.comparing import Comparison
    from evaluation.results import EngineResult, QuestionResult, RunResult

MAX_WORST = 25
MAX_QUESTIONS = 2000  # of one engine that are listed: a browser has to hold the page


def run_page(run: RunResult, comparisons: Sequence[Comparison]) -> str:
    """Return the page of a run."""
    levels = list(dict.fromkeys(level for result in run.engines for level in result.metrics))
    return _page(
        "run.html.j2",
        run=run,
        levels=levels,
        metrics_plots={level: plots.metrics_plot(run.engines, level=level) for level in levels},
        latency_plot=plots.latency_plot(run.engines),
        comparisons=comparisons,
        difference_plots=[plots.difference_plot(each) if each.main else "" for each in comparisons],
        main=_main_metric,
        worst=_worst,
        max_questions=MAX_QUESTIONS,
    )


def comparison_page(comparisons: Sequence[Comparison]) -> str:
    """Return the page of comparisons of earlier runs."""
    return _page(
        "comparison.html.j2",
        comparisons=comparisons,
        difference_plots=[plots.difference_plot(each) if each.main else "" for each in comparisons],
    )


def _page(name: str, **values: object) -> str:
    return _environment().get_template(name).render(**values)


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _main_metric(question: QuestionResult) -> tuple[str, float] | None:
    """Return the main metric of the most exact level; None if nothing was judged."""
    for scores in question.metrics.values():
        return next(iter(scores.items()), None)
    return None


def _worst(result: EngineResult) -> list[QuestionResult]:
    """Return the questions to look at first: those with the worst results, and unanswerable ones with results."""
    judged = [(found[1], each) for each in result.questions if (found := _main_metric(each)) and found[1] < 1]
    wrong = [(0.0, each) for each in result.questions if each.unanswerable and each.found]
    return [each for _, each in sorted(judged + wrong, key=lambda pair: pair[0])[:MAX_WORST]]
