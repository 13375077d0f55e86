"""``footnote COMMAND``, or ``python -m footnote COMMAND`` in a checkout: ask a running server, or run what is here.

``footnote ask "…"`` asks a running server. ``serve``, ``ingest`` and ``storage`` are ``python -m server``,
``python -m ingestion`` and ``python -m storage``, with the same arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

USAGE = """usage: footnote {ask,serve,ingest,storage,completion} …

  ask "QUESTION"   ask a running server, and read the answer with its footnotes
  serve            run the server (python -m server)
  ingest PATH…     read files and folders into a collection (python -m ingestion)
  storage upgrade  bring the database's schema up to this version (python -m storage)
  completion SHELL print what completes these commands in bash, zsh or tcsh

Each has its own --help."""
CANNOT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else ""
    if name in {"", "-h", "--help"}:
        print(USAGE)  # noqa: T201 (the command's output)
        return 0 if name else CANNOT
    commands: dict[str, Callable[[list[str]], int]] = {
        "ask": _ask,
        "serve": _serve,
        "ingest": _ingest,
        "storage": _storage,
        "completion": _completion,
    }
    if name not in commands:
        print(f"footnote: there is no command {name!r}\n\n{USAGE}", file=sys.stderr)  # noqa: T201
        return CANNOT
    return commands[name](given[1:])


def ingest() -> int:
    """``footnote-ingest``: as ``python -m ingestion``."""
    return _ingest(sys.argv[1:])


def storage() -> int:
    """``footnote-storage``: as ``python -m storage``."""
    return _storage(sys.argv[1:])


def _ask(arguments: list[str]) -> int:
    from footnote.ask import main as ask

    return ask(arguments)


def _serve(arguments: list[str]) -> int:
    sys.argv = ["footnote serve", *arguments]  # the server's own parts read it
    from server.__main__ import main as serve

    return serve()


def _ingest(arguments: list[str]) -> int:
    from ingestion.__main__ import main as run

    return run(arguments)


def _storage(arguments: list[str]) -> int:
    from storage.__main__ import main as run

    return run(arguments)


def _completion(arguments: list[str]) -> int:
    from footnote.completion import main as completion

    return completion(arguments)


if __name__ == "__main__":
    sys.exit(main())
