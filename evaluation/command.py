"""The commands of ``python -m evaluation``."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from config.version import VERSION
from evaluation import tables
from evaluation.comparing import Comparison, between, only, within
from evaluation.errors import EvaluationRefused
from evaluation.experiment import Experiment
from evaluation.floors import held, read_floors
from evaluation.opening import Opened, chosen_settings, opened_here, opened_model, require_model
from evaluation.results import EngineResult, GoldenFile, RunResult, read_result, write_text
from evaluation.running import run_experiment
from relevance.reading import GoldenSet, read_golden

if TYPE_CHECKING:
    import argparse

    from config.settings import Settings
    from evaluation.judges import Judges
    from relevance.golden import GoldenQuestion

EXIT_FAILED, EXIT_FLOOR = 1, 4
HERE = "in this process"


async def run(options: argparse.Namespace, settings: Settings) -> int:
    """Ask golden questions; print, write and return the exit code.

    Raises:
        FootnoteError: it cannot be done; the message says what to do.

    """
    golden = read_golden(options.golden)
    floors = read_floors(options.floor, k=options.k)
    experiment = Experiment(golden.questions, collection=options.collection, k=options.k, variants=options.engine)
    async with _opened(options, settings) as opened:
        judges = _judges(opened) if options.judge else None
        with _progress("asking", in_lines=options.progress) as progress:
            engines = await run_experiment(experiment, opened.asks, judges=judges, progress=progress)
        judge = opened.model.name if judges and opened.model else None
    found = run_result(golden, experiment, engines, asked=options.url or HERE, settings=options.set, judge=judge)
    found = found.model_copy(update={"floors": held(floors, engines)})
    return _told(found, options)


def compare(options: argparse.Namespace) -> int:
    """Compare two runs; print, write and return the exit code.

    Raises:
        EvaluationRefused: a file is not a run, or they have no question in common.

    """
    runs = [read_result(options.first), read_result(options.second)]
    if options.engine:
        first, _, second = options.engine.partition(",")
        runs = [only(each, name) for each, name in zip(runs, (first, second or first), strict=True)]
    names = (options.first.name, options.second.name)
    comparisons = between(*runs, names=names if names[0] != names[1] else ("first", "second"))
    _print_comparisons(comparisons)
    if options.json:
        write_text(options.json, json.dumps([each.as_json() for each in comparisons], indent=1))
    if options.html:
        from evaluation.report import comparison_page

        write_text(options.html, comparison_page(comparisons))
    return 0


async def make(options: argparse.Namespace, settings: Settings) -> int:
    """Make golden questions; write them and return the exit code.

    Raises:
        FootnoteError: there is no model, or something else cannot be used; the message says what to do.

    """
    from evaluation.making import Wish, make_golden
    from server.runtime import open_runtime

    wish = Wish(options.collection, questions=options.questions, answers=options.answers, seed=options.seed)
    async with open_runtime(settings) as runtime:
        model = require_model(runtime.model, what="making questions")
        with _progress("making") as progress:
            golden = await make_golden(wish, runtime, model, progress=progress)
    _write_golden(options, golden)
    if len(golden) < wish.questions:
        _say(f"{wish.questions} were wanted: what else the model said was no question, or there are no more passages")
    return 0


def convert(options: argparse.Namespace) -> int:
    """Convert a data set; write the golden questions and return the exit code.

    Raises:
        EvaluationRefused: it does not have that layout, or a file cannot be written.

    """
    from evaluation.converting import convert_beir, convert_squad

    if options.layout == "squad":
        golden = convert_squad(options.path, documents=options.documents)
    else:
        golden = convert_beir(options.path, documents=options.documents, split=options.split)
    _write_golden(options, golden)
    if options.documents is not None:
        _say(f"ingest them: python -m ingestion {options.documents} --base {options.documents} --collection NAME")
    return 0


def run_result(
    golden: GoldenSet,
    experiment: Experiment,
    engines: Sequence[EngineResult],
    *,
    asked: str,
    settings: Sequence[str] = (),
    judge: str | None = None,
) -> RunResult:
    """Return a run's results, for its files."""
    return RunResult(
        footnote=VERSION,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        golden=GoldenFile(
            name=golden.file, sha256=golden.digest, questions=len(golden.questions), skipped=golden.skipped
        ),
        collection=experiment.collection,
        k=experiment.k,
        asked=asked,
        judge=judge,
        settings=list(settings),
        engines=list(engines),
    )


@asynccontextmanager
async def _opened(options: argparse.Namespace, settings: Settings) -> AsyncIterator[Opened]:
    if options.url is None:
        async with opened_here(settings, collection=options.collection, generation=options.generation) as opened:
            yield opened
        return
    from evaluation.asking import open_server

    if options.generation or options.set:
        msg = "--generation and --set are for an evaluation in this process: a server has its own; leave --url out"
        raise EvaluationRefused(msg)
    async with AsyncExitStack() as stack:
        asks = await stack.enter_async_context(open_server(options.url))
        model = await stack.enter_async_context(opened_model(settings)) if options.judge else None
        yield Opened(asks, model)


def _judges(opened: Opened) -> Judges:
    model = require_model(opened.model, what="--judge")
    from evaluation.judges import Judges

    return Judges(model)


def _told(found: RunResult, options: argparse.Namespace) -> int:
    comparisons = within(found)
    tables.console().print(tables.run_tables(found))
    _print_comparisons(comparisons)
    if options.json:
        write_text(options.json, found.model_dump_json(indent=1))
    if options.html:
        from evaluation.report import run_page

        write_text(options.html, run_page(found, comparisons))
    return _exit_code(found)


def _exit_code(found: RunResult) -> int:
    missed = [each for each in found.floors if not each.held]
    failed = sum(result.failed for result in found.engines)
    if failed:
        first = next(each.error for result in found.engines for each in result.questions if each.error)
        _say(f"{failed} questions got no result and count in no figure; the first: {first}")
    if missed:
        _say(f"{len(missed)} of {len(found.floors)} floors missed")
        return EXIT_FLOOR
    return EXIT_FAILED if failed else 0


def _print_comparisons(comparisons: Sequence[Comparison]) -> None:
    console = tables.console()
    for each in comparisons:
        console.print(tables.comparison_table(each))


def _write_golden(options: argparse.Namespace, golden: Sequence[GoldenQuestion]) -> None:
    write_text(options.output, "".join(f"{question.json_line()}\n" for question in golden))
    _say(f"{len(golden)} questions written to {options.output}")


@contextmanager
def _progress(what: str, *, in_lines: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, elsewhere nothing; or a line each time, for a program that reads it."""
    if in_lines:
        yield lambda done, total: print(f"progress {done} {total}", file=sys.stderr, flush=True)  # noqa: T201
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 (the command's output)


__all__ = ["chosen_settings", "compare", "convert", "make", "run", "run_result"]
