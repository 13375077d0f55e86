"""``python -m ingestion PATH…``: read files and folders into a collection.

Exit codes: 0 all is indexed, 1 a document failed, 2 it could not start or the database went away, 3 a file was skipped,
130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import Settings, TelemetrySettings
    from ingestion.report import IngestReport
    from ingestion.types import Json

EXIT_CANNOT_START = 2
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options = _parser().parse_args(arguments)
    from config import logging as logs
    from config.settings import SettingsError, load_settings
    from config.telemetry import keep_to_own_propagation

    keep_to_own_propagation()
    try:
        settings = load_settings()
    except SettingsError as exc:
        return _say(exc)
    logs.configure(settings.log)
    os.nice(settings.ingestion.nice)
    code = EXIT_INTERRUPTED
    with suppress(KeyboardInterrupt), _traced(settings.telemetry):  # when all is done, nobody must wait for telemetry
        code = _run(options, settings)
    return code


def _run(options: argparse.Namespace, settings: Settings) -> int:
    from config.errors import FootnoteError

    try:
        report = asyncio.run(_ingest(options, settings))
    except FootnoteError as exc:
        return _say(exc)
    except (KeyboardInterrupt, asyncio.CancelledError):  # before the work began, or asked for twice
        print("stopped; run it again to go on", file=sys.stderr)  # noqa: T201 (the command's output)
        return EXIT_INTERRUPTED
    print(json.dumps(report.as_json()) if options.json else report.as_text())  # noqa: T201 (see above)
    return report.exit_code


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
    from config import spans
    from config.settings import trace_parent
    from config.telemetry import open_telemetry
    from config.version import VERSION

    with open_telemetry(settings, version=VERSION), spans.continued(trace_parent()):
        yield


async def _ingest(options: argparse.Namespace, settings: Settings) -> IngestReport:
    from config import spans
    from ingestion.command import open_pipeline
    from ingestion.progress import open_progress
    from ingestion.sources import find_files

    with spans.span("footnote.ingest"):
        async with open_pipeline(
            settings,
            collection=options.collection,
            base=options.base,
            metadata=dict(options.metadata),
        ) as pipeline:
            _stop_on_signals(pipeline.stop)
            with open_progress(quiet=options.json) as progress:
                return await pipeline.run(find_files(options.paths), progress=progress)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """Finish the document in hand on the first Ctrl-C or SIGTERM, end at once on the second."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def first() -> None:
        print("stopping after the document in hand; once more to stop at once", file=sys.stderr)  # noqa: T201
        stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)  # type: ignore[union-attr]

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ingestion", description=__doc__.splitlines()[0])
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a file, a folder, or a pattern such as 'docs/**/*.md'"
    )
    parser.add_argument("--collection", default="default", help="where to (default: default)")
    parser.add_argument(
        "--metadata",
        action="append",
        default=[],
        type=_metadata,
        metavar="KEY=VALUE",
        help="for every document; year=2024 is a number, year='\"2024\"' a string",
    )
    parser.add_argument("--base", type=Path, help="name sources relative to this folder; default: absolute paths")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _metadata(argument: str) -> tuple[str, Json]:
    from ingestion.identity import OWN_KEYS

    key, equals, value = argument.partition("=")
    if not equals or not key:
        msg = f"{argument!r} is not KEY=VALUE"
        raise argparse.ArgumentTypeError(msg)
    if key in OWN_KEYS:
        msg = f"{key!r} is Footnote's own; take another key"
        raise argparse.ArgumentTypeError(msg)
    try:
        parsed = json.loads(value)
        json.dumps(parsed, allow_nan=False)  # NaN and infinity are no JSON, though Python reads them
    except (ValueError, RecursionError):
        return key, value
    return key, parsed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while it was still importing
        sys.exit(EXIT_INTERRUPTED)
