"""``python -m ingestion PATH…``: read files and folders into a collection.

Exit codes: 0 all is indexed, 1 a document failed or a generation was not activated, 2 it could not start or the
database went away, 3 a file was skipped, 4 it was refused as it might lose documents, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ingestion.cli.arguments import WORKER, parse_arguments

if TYPE_CHECKING:
    import argparse

    from config.settings import Settings, TelemetrySettings
    from ingestion.cli.command import Outcome
    from ingestion.pipeline.pipeline import Pipeline

EXIT_CANNOT_START = 2
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments, description=__doc__.splitlines()[0])
    from config import logging as logs
    from config.giving_way import giving_way
    from config.settings import SettingsError, load_settings
    from config.telemetry.setup import keep_to_own_propagation
    from ingestion.plug_ins import check_plug_ins
    from ingestion.readers.kinds import KIND_OF_SUFFIX

    keep_to_own_propagation()
    try:
        settings = load_settings()
        check_plug_ins(settings.ingestion, ours=KIND_OF_SUFFIX)
    except SettingsError as exc:
        return _say(exc)
    if getattr(options, "strict", False):
        settings = settings.model_copy(update={"ingestion": settings.ingestion.model_copy(update={"strict": True})})
    logs.configure(settings.log)
    code = EXIT_INTERRUPTED
    with (
        suppress(KeyboardInterrupt),  # when all is done, nobody must wait for telemetry
        giving_way(settings.data_dir, nice=settings.ingestion.nice),
        _traced(settings.telemetry),
    ):
        code = _run(options, settings)
    return code


def _run(options: argparse.Namespace, settings: Settings) -> int:
    from config.errors import FootnoteError

    try:
        if options.command == WORKER:
            return _work(options, settings)
        from storage.caller import LOCAL, acting_as
        from storage.origin import at_command_line

        with acting_as(LOCAL), at_command_line():
            outcome = asyncio.run(_command(options, settings))
    except FootnoteError as exc:
        return _say(exc)
    except (KeyboardInterrupt, asyncio.CancelledError):  # before the work began, or asked for twice
        print("stopped; run it again to go on", file=sys.stderr)  # noqa: T201 (the command's output)
        return EXIT_INTERRUPTED
    print(json.dumps(outcome.as_json()) if options.json else outcome.as_text())  # noqa: T201 (see above)
    return outcome.exit_code


def _work(options: argparse.Namespace, settings: Settings) -> int:
    from functools import partial

    from ingestion.jobs import worker
    from ingestion.jobs.handlers import open_handlers

    return worker.main(options, settings, open_handlers=partial(open_handlers, settings=settings))


def _say(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)  # noqa: T201 (the command's output)
    return EXIT_CANNOT_START


@contextmanager
def _traced(settings: TelemetrySettings) -> Iterator[None]:
    """Send telemetry while the block runs, in the trace that the environment names, if any.

    Without a receiver OpenTelemetry is not loaded: nobody could see what it counts.
    """
    if not settings.enabled or settings.endpoint is None:
        yield
        return
    from config.environment import trace_parent
    from config.telemetry import spans
    from config.telemetry.setup import open_telemetry
    from config.version import VERSION

    with open_telemetry(settings, version=VERSION), spans.continued(trace_parent()):
        yield


async def _command(options: argparse.Namespace, settings: Settings) -> Outcome:
    from config.telemetry import spans
    from ingestion.cli.command import run_command
    from ingestion.cli.progress import open_progress
    from ingestion.pipeline.factory import open_indexing

    with spans.span("footnote.ingest"):
        async with open_indexing(settings, ray=getattr(options, "ray", None)) as indexing:
            with open_progress(quiet=options.json) as progress:
                return await run_command(options, indexing, watch=_stop_on_signals, progress=progress)


def _stop_on_signals(pipeline: Pipeline) -> None:
    """Finish the document in hand on the first Ctrl-C or SIGTERM, end at once on the second."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def first() -> None:
        print("stopping after the document in hand; once more to stop at once", file=sys.stderr)  # noqa: T201
        pipeline.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)  # type: ignore[union-attr]

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while it was still importing
        sys.exit(EXIT_INTERRUPTED)
