"""Arguments of ``python -m ingestion PATH…`` and of its other commands."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingestion.types import Json

INGEST = "ingest"
RUN = "run"
WORKER = "worker"


def parse_arguments(arguments: Sequence[str], *, description: str) -> argparse.Namespace:
    """Parse the arguments; the first is the command, or a path for ``ingest`` (``./worker`` is a path).

    Raises:
        SystemExit: they are invalid, or help was requested.

    """
    if arguments and arguments[0] in COMMANDS:
        options = COMMANDS[arguments[0]]().parse_args(arguments[1:])
        options.command = arguments[0]
        return options
    parser = ingest_parser(description)
    options = parser.parse_args(arguments)
    options.command = INGEST
    if not options.paths and not options.reindex:
        parser.error("a PATH is wanted, or --reindex")
    return options


def ingest_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of paths and what is to be done with them; the other commands have their own."""
    parser = argparse.ArgumentParser(
        prog="python -m ingestion",
        description=description,
        epilog=f"Other commands: {', '.join(COMMANDS)} (each with --help). A folder of such a name: ./{min(COMMANDS)}",
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="a file, a folder, a pattern such as 'docs/**/*.md', or a URL"
    )
    parser.add_argument("--collection", default="default", help="where to (default: default)")
    parser.add_argument(
        "--embedding",
        metavar="NAME",
        help="the embedding model of a new collection, or with --reindex of the new generation: default, or a name of "
        "FOOTNOTE_EMBEDDINGS; otherwise it has to be the collection's",
    )
    parser.add_argument(
        "--metadata",
        action="append",
        default=[],
        type=_metadata,
        metavar="KEY=VALUE",
        help="for every document; year=2024 is a number, year='\"2024\"' a string",
    )
    parser.add_argument(
        "--readers",
        type=_readers,
        metavar="LIST",
        help="who may read every document: *, user:NAME and group:NAME, separated by commas; "
        "default: as before, else as the collection says",
    )
    parser.add_argument("--base", type=Path, help="name sources relative to this folder; default: absolute paths")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        type=_pattern,
        metavar="PATTERN",
        help="leave out files that match, as in a .gitignore",
    )
    parser.add_argument(
        "--sync", action="store_true", help="then delete documents whose files are gone from the folders named"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="read and embed on a Ray cluster: auto, host:port, or local for a fresh one"
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail documents of which something could not be read, or was guessed"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--yes", action="store_true", help="do what would be refused as it may lose documents")
    _add_plan(parser)
    _add_build(parser)
    return parser


def _add_plan(parser: argparse.ArgumentParser) -> None:
    plan = parser.add_argument_group("a plan")
    plan.add_argument(
        "--dry-run", action="store_true", help="write nothing; say what would be done, and estimate time and cost"
    )
    plan.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="with --dry-run: write the plan there; without: refuse to do anything that is not in it",
    )


def _add_build(parser: argparse.ArgumentParser) -> None:
    build = parser.add_argument_group("a new generation")
    build.add_argument(
        "--reindex",
        action="store_true",
        help="build a generation beside the one that answers, with the model and chunking that the settings name now, "
        "from the paths and all else that the collection holds; then flip to it",
    )
    build.add_argument("--resume", action="store_true", help="go on with a build that was interrupted")
    build.add_argument(
        "--activate",
        choices=["never", "always", "if-better"],
        help="when to flip to it (default: always; if-better with --gate)",
    )
    build.add_argument(
        "--gate", type=Path, metavar="FILE", help='questions, one a line: {"question": "…", "documents": ["source"]}'
    )


def _activate() -> argparse.ArgumentParser:
    parser = _of_collection("activate", "Let another generation answer, in one transaction.")
    parser.add_argument("generation", help="its number; python -m ingestion generations COLLECTION lists them")
    _add_catch_up(parser)
    return parser


def _rollback() -> argparse.ArgumentParser:
    parser = _of_collection("rollback", "Let the generation answer that did before, in one transaction.")
    _add_catch_up(parser)
    return parser


def _generations() -> argparse.ArgumentParser:
    return _of_collection("generations", "List a collection's generations, the newest first.")


def _prune() -> argparse.ArgumentParser:
    return _of_collection("prune", "Drop generations and bytes that nothing needs any more.")


def _check() -> argparse.ArgumentParser:
    parser = _of_collection("check", "Find documents that lack chunks, which another program deleted.")
    parser.add_argument("--repair", action="store_true", help="read them anew from the bytes that the database keeps")
    return parser


def _run() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ingestion run", description="Run the sources that are due.")
    parser.add_argument("file", help="a YAML file that lists them; see docs/sources.md")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="run all of them, due or not")
    which.add_argument("--only", action="append", default=[], metavar="NAME", help="run this one, due or not")
    parser.add_argument("--dry-run", action="store_true", help="write nothing; say what would be done")
    parser.add_argument("--yes", action="store_true", help="delete what sync would refuse to")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _add_catch_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-catch-up",
        action="store_true",
        help="leave documents as they are there, though they were changed or added since",
    )


def _of_collection(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m ingestion {name}", description=description)
    parser.add_argument("collection")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _worker() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ingestion worker", description="Do the jobs that the server puts into the queue, until stopped."
    )
    parser.add_argument(
        "--concurrency", type=int, choices=range(1, 65), metavar="N", help="jobs at once (default: as the settings say)"
    )
    return parser


COMMANDS = {
    "activate": _activate,
    "check": _check,
    "generations": _generations,
    "prune": _prune,
    "rollback": _rollback,
    RUN: _run,
    WORKER: _worker,
}


def _pattern(argument: str) -> str:
    from ingestion.inputs.inputs import excluding

    try:
        excluding([argument])
    except ValueError as exc:
        msg = f"{argument!r} is no pattern ({exc})"
        raise argparse.ArgumentTypeError(msg) from exc
    return argument


def _readers(argument: str) -> list[str]:
    from storage.documents.readers import checked_readers
    from storage.errors import InvalidReaders

    try:
        return list(checked_readers([name.strip() for name in argument.split(",") if name.strip()]))
    except InvalidReaders as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


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
        json.dumps(parsed, allow_nan=False)  # Python reads NaN and Infinity, which are not JSON
    except (ValueError, RecursionError):
        return key, value
    return key, parsed
