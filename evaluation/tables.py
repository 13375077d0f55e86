"""Results on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from evaluation.comparing import Comparison
    from evaluation.results import EngineResult, Figure, FloorResult, RunResult
    from relevance.significance import Difference

MAX_CHANGES = 10
LONGEST = 60
CERTAIN = 0.05


def console() -> Console:
    """Return a console for stdout; lines to a pipe are not wrapped."""
    made = Console(highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(highlight=False, width=max(made.width, 110))


def run_tables(run: RunResult) -> RenderableType:
    """Return the tables of a run."""
    levels = dict.fromkeys(level for result in run.engines for level in result.metrics)
    parts: list[RenderableType] = [_head(run), *(_metrics(level, run.engines) for level in levels)]
    parts += [_kinds(run.engines), _others(run.engines)]
    if any(result.judged for result in run.engines):
        parts.append(_judged(run))
    parts += [_floor(each) for each in run.floors]
    return Group(*parts)


def comparison_table(found: Comparison) -> RenderableType:
    """Return a comparison: differences, and the questions that changed most."""
    left_out = f", {found.left_out} left out" if found.left_out else ""
    title = f"{found.first.name} → {found.second.name}, {found.questions} questions{left_out}"
    table = _table(_cell(title), "", "first", "second", "difference", "p", "better", "worse", "same")
    for level, differences in found.differences.items():
        for name, each in differences.items():
            table.add_row(f"{level} {name}", *_difference_cells(each))
    parts: list[RenderableType] = [table]
    if found.changes and found.main:
        parts.append(_changes(found))
    return Group(*parts)


def _head(run: RunResult) -> Text:
    skipped = f", {run.golden.skipped} lines left out" if run.golden.skipped else ""
    generations = ", ".join(dict.fromkeys(result.generation for result in run.engines))
    settings = f"; {', '.join(run.settings)}" if run.settings else ""
    asked = f"collection {run.collection}, generation {generations}, k = {run.k}, {run.asked}{settings}"
    return Text(f"{_plain(run.golden.name)}: {run.golden.questions} questions{skipped}\n{_plain(asked)}")


def _metrics(level: str, results: Sequence[EngineResult]) -> Table:
    names = list(dict.fromkeys(name for result in results for name in result.metrics.get(level, {})))
    counts = {figure.questions for result in results for figure in result.metrics.get(level, {}).values()}
    table = _table(f"{level}, {max(counts)} questions, with 95 % intervals", "", *names)
    for result in results:
        figures = result.metrics.get(level, {})
        table.add_row(_cell(result.engine), *(_figure(figures.get(name)) for name in names))
    return table


def _kinds(results: Sequence[EngineResult]) -> RenderableType:
    kinds = list(dict.fromkeys(kind for result in results for kind in result.kinds))
    if not kinds:
        return Text("")
    first = next(iter(next(iter(results[0].kinds.values())).values()))
    name = next(iter(first))
    table = _table(f"{name} by kind of question", "", "questions", *_names(results))
    for kind in kinds:
        figures = [_most_exact(result.kinds.get(kind, {}), name) for result in results]
        count = max((figure.questions for figure in figures if figure), default=0)
        table.add_row(_cell(kind), str(count), *(f"{figure.mean:.3f}" if figure else "–" for figure in figures))  # noqa: RUF001 (a dash)
    return table


def _others(results: Sequence[EngineResult]) -> Table:
    stages = list(dict.fromkeys(stage for result in results for stage in result.stages_ms))
    table = _table("milliseconds, p50 / p95", "", "in all", *stages, "no answer", "failed")
    for result in results:
        times = [result.latency_ms, *(result.stages_ms.get(stage) for stage in stages)]
        shown = [f"{each.p50:.1f} / {each.p95:.1f}" if each else "0" for each in times]
        table.add_row(_cell(result.engine), *shown, _no_answer(result), str(result.failed))
    return table


def _no_answer(result: EngineResult) -> str:
    found = result.no_answer
    if found is None:
        return ""
    return f"{found.rightly} of {found.unanswerable} refused,\n{found.rightly} of {found.refused} rightly"


def _judged(run: RunResult) -> Table:
    names = list(dict.fromkeys(name for result in run.engines for name in result.judged))
    table = _table(_cell(f"answers, judged by {run.judge}"), "", *names, "not judged")
    for result in run.engines:
        missing = sum(len(each.answer.failures) for each in result.questions if each.answer)
        table.add_row(_cell(result.engine), *(_figure(result.judged.get(name)) for name in names), str(missing))
    return table


def _floor(found: FloorResult) -> Text:
    value = "there is no such figure" if found.value is None else f"it is {found.value:.3f}"
    verdict = "held" if found.held else "MISSED"
    return Text(
        f"floor {found.floor}, {_plain(found.engine)}: {verdict}, {value}", style="green" if found.held else "bold red"
    )


def _changes(found: Comparison) -> Table:
    assert found.main is not None  # noqa: S101 (the caller looked)
    table = _table(f"changed most, {' '.join(found.main)}", "first", "second", "question")
    for each in found.changes[:MAX_CHANGES]:
        table.add_row(f"{each.before:.2f}", f"{each.after:.2f}", Text(_short(each.question)))
    return table


def _difference_cells(found: Difference) -> list[str]:
    where = found.interval
    p_value = f"{found.p_value:.3f}" if found.p_value >= 0.001 else "<0.001"  # noqa: PLR2004 (what is shown)
    return [
        f"{found.first:.3f}",
        f"{found.second:.3f}",
        f"{where.mean:+.3f} ({where.low:+.3f} to {where.high:+.3f})",
        f"[bold]{p_value}[/bold]" if found.p_value < CERTAIN else p_value,
        *(str(count) for count in (found.wins, found.losses, found.ties)),
    ]


def _figure(figure: Figure | None) -> str:
    return f"{figure.mean:.3f}\n[dim]{figure.low:.2f}–{figure.high:.2f}[/dim]" if figure else "–"  # noqa: RUF001 (a range)


def _most_exact(levels: Mapping[str, Mapping[str, Figure]], name: str) -> Figure | None:
    return next((figures[name] for figures in levels.values() if name in figures), None)


def _names(results: Sequence[EngineResult]) -> list[str]:
    return [_cell(result.engine) for result in results]


def _plain(text: str) -> str:
    """Return a text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))


def _cell(text: str) -> str:
    """Return a text for a cell, with its markup escaped."""
    return escape(_plain(text))


def _short(text: str) -> str:
    line = _plain(text)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        is_text = (not place and not column) or column == "question"
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return table
