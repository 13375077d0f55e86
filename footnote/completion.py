"""``footnote completion SHELL``: what completes the command's words, to be read by a shell's start-up file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import shtab

from footnote.ask import parser as ask_parser
from ingestion.cli.arguments import ingest_parser
from storage.__main__ import storage_parser

SHELLS = ("bash", "zsh", "tcsh")
SERVER = ("http", "mcp", "audit", "keys", "limits", "tenants")


def main(arguments: Sequence[str]) -> int:
    """Print the completion for a shell; return the exit code."""
    own = argparse.ArgumentParser(prog="footnote completion")
    own.add_argument("shell", choices=SHELLS)
    print(shtab.complete(_whole(), own.parse_args(arguments).shell))  # noqa: T201 (the command's output)
    return 0


def _whole() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="footnote")
    commands = whole.add_subparsers()
    ingest = ingest_parser("read files and folders into a collection")
    for name, parser in {"ask": ask_parser(), "ingest": ingest, "storage": storage_parser()}.items():
        commands.add_parser(name, parents=[parser], add_help=False, help=parser.description or name)
    commands.add_parser("serve", help="run the server").add_argument("command", nargs="?", choices=SERVER)
    commands.add_parser("completion", help="print this").add_argument("shell", choices=SHELLS)
    paths = next(action for action in ingest._actions if action.dest == "paths")  # noqa: SLF001 (argparse has no other way)
    paths.complete = shtab.FILE  # type: ignore[attr-defined] # shtab's
    return whole
