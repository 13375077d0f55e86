"""``python -m evaluation``: what a collection finds for golden questions, and whether a change made it better.

Exit codes: 0 done, 1 a question got no result, 2 it could not start, 4 a floor was missed, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from config import logging as logs
from config.errors import FootnoteError
from config.extras import require_extra
from config.settings import SettingsError

if TYPE_CHECKING:
    import argparse

EXIT_CANNOT_START = 2
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    from evaluation.arguments import parse_arguments

    options = parse_arguments(arguments, description=__doc__.splitlines()[0])
    try:
        require_extra("evaluation", purpose="python -m evaluation")
        return _done(options)
    except (FootnoteError, SettingsError) as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201 (the command's output)
        return EXIT_CANNOT_START
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_INTERRUPTED


def _done(options: argparse.Namespace) -> int:
    from evaluation import arguments, command
    from evaluation.opening import chosen_settings

    if options.command == arguments.COMPARE:
        return command.compare(options)
    if options.command == arguments.CONVERT:
        return command.convert(options)
    settings = chosen_settings(getattr(options, "set", ()))
    logs.configure(settings.log.model_copy(update={"level": "warning"}))  # the table is the output
    perform = command.run if options.command == arguments.RUN else command.make
    from evaluation.callers import as_caller

    with as_caller(getattr(options, "caller", None)):
        return asyncio.run(perform(options, settings))


if __name__ == "__main__":
    sys.exit(main())
