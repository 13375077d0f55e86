"""``python -m server audit``: list, check and export the record of who did what."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from server.command_line import opened_database
from storage.audit.record import AuditFilter, AuditRecord
from storage.audit.verification import verify
from storage.database import storable

if TYPE_CHECKING:
    from config.settings import Settings
    from storage.audit.lines import AuditLine
    from storage.audit.verification import Verdict
    from storage.database import Database

PAGE = 500
FOUND = 1
"""Exit code of a check that has found something."""


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        FootnoteError: it cannot be done; the message says why.

    """
    options = _parser().parse_args(arguments)
    try:
        status = asyncio.run(_run(settings, options))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has had enough; what is left to flush must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m server audit", description="The record of who did what.")
    commands = parser.add_subparsers(dest="command", required=True)
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--tenant", type=_text, help="its id, also of one that is deleted; unset: all")
    which.add_argument("--from", dest="since", type=_moment, metavar="TIME", help="from then on: 2026-11-29T08:00Z")
    which.add_argument("--to", dest="until", type=_moment, metavar="TIME", help="before that")
    listing = commands.add_parser("list", parents=[which], help="list lines, the newest first")
    listing.add_argument("--action", type=_text, help="what was done, or how that begins: key.")
    listing.add_argument("--subject", type=_text, help="who did it")
    listing.add_argument("--limit", type=_count, default=100, help="lines at the most; 100 if it is not given")
    listing.add_argument("--json", action="store_true", help="print JSON lines")
    check = commands.add_parser("verify", help="tell whether a line was changed, removed, moved or put in")
    check.add_argument("--expect", type=_hash, metavar="HASH", help="a head that was noted before must be in it still")
    check.add_argument("--json", action="store_true", help="print JSON")
    commands.add_parser("export", parents=[which], help="print all lines as JSON, the oldest first")
    return parser


def _text(value: str) -> str:
    if storable(value) != value:  # bytes of an argument that are no UTF-8
        msg = "is not UTF-8"
        raise argparse.ArgumentTypeError(msg)
    return value


def _moment(value: str) -> datetime:
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        msg = f"{value[:40]!r} is no time, such as 2026-11-29T08:00Z"
        raise argparse.ArgumentTypeError(msg) from None


def _count(value: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value, re.ASCII):
        msg = f"{value[:40]!r} is no number of lines"
        raise argparse.ArgumentTypeError(msg)
    return int(value)


def _hash(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value.lower(), re.ASCII):
        msg = "a hash has 64 hex digits"
        raise argparse.ArgumentTypeError(msg)
    return value.lower()


async def _run(settings: Settings, options: argparse.Namespace) -> int:
    async with opened_database(settings) as database:
        if options.command == "verify":
            return _tell(await _verdict(database, settings, options), as_json=options.json)
        await (_list if options.command == "list" else _export)(database, options)
    return 0


async def _verdict(database: Database, settings: Settings, options: argparse.Namespace) -> Verdict:
    return await verify(database, expected=options.expect, retention_days=settings.audit.retention_days)


async def _list(database: Database, options: argparse.Namespace) -> None:
    record, cursor, left = AuditRecord(database), None, options.limit
    which = AuditFilter(options.since, options.until, options.action, options.subject)
    while left:
        page = await record.list_any(options.tenant, which, limit=min(left, PAGE), cursor=cursor)
        for line in page.items:
            _print(json.dumps(line.members()) if options.json else _shown(line))
        left, cursor = left - len(page.items), page.next_cursor
        if cursor is None:
            break
    if left == options.limit and options.tenant is not None and not await record.knows(options.tenant):
        _complain(f"there is no tenant {options.tenant!r}, and the record has no line of one")


def _complain(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 (a command's output)


async def _export(database: Database, options: argparse.Namespace) -> None:
    which = AuditFilter(options.since, options.until)
    async for line in AuditRecord(database).export(options.tenant, which):
        _print(json.dumps(line))


def _shown(line: AuditLine) -> str:
    who = f"{line.subject or '?'} of {line.actor_tenant or '?'}" + (f", key {line.key}" if line.key else "")
    states = (line.before_json or "-", line.after_json or "-")
    state = "" if states == ("-", "-") else f": {' -> '.join(states)}"
    outcome = "" if line.outcome == "success" else f" ({line.outcome})"
    told = f"{line.at:%Y-%m-%d %H:%M:%S}  {line.action}{outcome}  {line.object}  by {who} from {line.client}{state}"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in told)


def _tell(verdict: Verdict, *, as_json: bool) -> int:
    if as_json:
        members = ("entries", "dropped", "sequence", "head", "pruned_before", "problem_count", "problems", "notices")
        _print(json.dumps({name: getattr(verdict, name) for name in members}))
    else:
        for problem in verdict.problems:
            _print(problem)
        if (more := verdict.problem_count - len(verdict.problems)) > 0:
            _print(f"and more: {more}")
        for notice in verdict.notices:
            _print(f"notice: {notice}")
        if verdict.pruned_before:
            _print(f"lines of before {verdict.pruned_before} were dropped after their time")
        _print(f"entries checked: {verdict.entries}; problems found: {verdict.problem_count}")
        _print(f"head: {verdict.head} (entry {verdict.sequence})")
    return FOUND if verdict.problem_count else 0


def _print(line: str) -> None:
    print(line)  # noqa: T201 (a command's output)
