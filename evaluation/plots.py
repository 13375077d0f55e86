"""Plots as SVG, to be embedded in a page, without scripts or external resources. They show only numbers and names."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evaluation.comparing import Comparison
    from evaluation.results import EngineResult

WIDTH = 7.6  # inches
COLOURS = ("#2563a8", "#d9822b", "#2f8f5b", "#8f4fa8", "#b8323a", "#6b7280", "#0f8b8d", "#a8752a", "#4c51bf")
INK, FAINT = "#1f2933", "#d5dae1"
SVG: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "footnote",
}  # text as paths, so that no font is needed; reproducible ids
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_ID = re.compile(r'(id="|href="#|url\(#)')


def metrics_plot(results: Sequence[EngineResult], *, level: str) -> str:
    """Draw each metric's mean and interval for each engine."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics.get(level, {})))
    height = 0.7 + 0.16 * len(names) * (len(results) + 1)
    figure, axes = _axes(height)
    step = len(results) + 1
    for place, result in enumerate(results):
        figures = [result.metrics.get(level, {}).get(name) for name in names]
        known = [(-(number * step + place), each) for number, each in enumerate(figures) if each]
        means = [each.mean for _, each in known]
        spans = [[each.mean - each.low for _, each in known], [each.high - each.mean for _, each in known]]
        where = [row for row, _ in known]
        colour = COLOURS[place % len(COLOURS)]
        axes.errorbar(means, where, xerr=spans, fmt="o", ms=4.5, lw=2, color=colour, label=_plain(result.engine))
    axes.set_yticks([-(number * step + (len(results) - 1) / 2) for number in range(len(names))], names)
    axes.set_xlim(0, 1.02)
    _legend(axes, len(results))
    return _svg(figure, name=f"metrics-{level}")


def latency_plot(results: Sequence[EngineResult]) -> str:
    """Draw the cumulative distribution of latencies."""
    import numpy as np

    figure, axes = _axes(2.4)
    for place, result in enumerate(results):
        times = np.sort([each.latency_ms for each in result.questions if each.error is None])
        shares = np.arange(1, len(times) + 1) / max(1, len(times))
        axes.step(times, shares, where="post", lw=1.6, color=COLOURS[place % len(COLOURS)], label=_plain(result.engine))
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of questions")
    _legend(axes, len(results))
    return _svg(figure, name="latency")


def difference_plot(found: Comparison) -> str:
    """Draw each question's difference in the main metric, losses first."""
    assert found.main is not None  # noqa: S101 (the template asks)
    level, name = found.main
    before = {each.id: each.metrics[level][name] for each in found.first.result.questions if level in each.metrics}
    differences = sorted(
        each.metrics[level][name] - before[each.id]
        for each in found.second.result.questions
        if level in each.metrics and each.id in before
    )
    figure, axes = _axes(1.9)
    colours = [COLOURS[0] if each > 0 else COLOURS[4] for each in differences]
    axes.bar(range(len(differences)), differences, width=0.9, color=colours)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xlim(-0.6, len(differences) - 0.4)
    axes.set_ylim(-1.05, 1.05)
    axes.set_xlabel("questions, by difference")
    axes.set_ylabel(f"{name}, difference")
    return _svg(figure, name=f"difference-{_plain(found.second.name)}")


def _axes(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.grid(axis="both", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    return figure, axes


def _legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _plain(text: str) -> str:
    """Escape a name: matplotlib would read text between two dollars as a formula."""
    return text.replace("$", r"\$")


def _svg(figure: Figure, *, name: str) -> str:
    """Return a figure as an SVG element; ids are prefixed with its name, since a page holds several figures."""
    from matplotlib import rc_context

    target = io.StringIO()
    with rc_context(SVG):
        figure.savefig(target, format="svg", transparent=True)
    text = target.getvalue()
    text = _METADATA.sub("", text[text.index("<svg") :])
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return _ID.sub(lambda found: f"{found[1]}{prefix}-", text)
