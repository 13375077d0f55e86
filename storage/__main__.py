"""``python -m storage``: upgrade the schema, print SQL for roles, reword chunks, print the address, export feedback."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from config import logging as logs
from config.errors import FootnoteError
from config.settings import Settings, SettingsError, load_settings
from storage.caller import LOCAL, acting_as
from storage.chat.feedback import Rating
from storage.roles import READER, names_in, statements
from storage.server import database_server

_UNREAD = {"database": {"password_file": None}}
"""Overrides for what connects to nothing: there may be no password yet."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    chosen = storage_parser().parse_args(arguments)
    try:
        settings = load_settings(**_UNREAD if chosen.command == "roles" else {})
        logs.configure(settings.log)
        if chosen.command == "roles":
            _print_roles(settings, reader=chosen.reader)
            return 0
        with database_server(settings) as server, acting_as(LOCAL):
            if chosen.command == "url":
                print(server.dsn)  # noqa: T201 (the command's output)
            elif chosen.command == "upgrade":
                asyncio.run(_upgrade(server.dsn, settings=settings))
            elif chosen.command == "reword":
                asyncio.run(_reword(server.dsn, settings=settings))
            else:
                asyncio.run(_export_feedback(server.dsn, settings=settings, rating=chosen.rating))
    except (SettingsError, FootnoteError) as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201
        return 2
    except BrokenPipeError:  # whoever read has had enough; what is left to flush must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def storage_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m storage", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade", help="bring the schema up to this version")
    roles = commands.add_parser("roles", help="print SQL that makes the roles in a PostgreSQL of your own")
    roles.add_argument("--reader", default=READER, help="user of programs that read passages by themselves")
    commands.add_parser("url", help="print the database's address")
    commands.add_parser("reword", help="bring chunks of before an upgrade to what they are found by now, without rests")
    export = commands.add_parser("export-feedback", help="print ratings and their answers as JSON Lines")
    export.add_argument("--rating", choices=["up", "down"], help="these only")
    return parser


def _print_roles(settings: Settings, *, reader: str) -> None:
    url = settings.database.direct_url or settings.database.url
    owner, database = names_in(url.get_secret_value() if url else "")
    print(statements(owner=owner, database=database, reader=reader), end="")  # noqa: T201


async def _upgrade(dsn: str, *, settings: Settings) -> None:
    from storage.schema_version import upgrade

    before, after = await upgrade(dsn, settings.database)
    print(f"The schema is at revision {after}" + ("" if before == after else f" (was: {before or 'empty'})"))  # noqa: T201


async def _reword(dsn: str, *, settings: Settings) -> None:
    from storage import schema_version
    from storage.database import Database
    from storage.search.rewording import Rewording

    database = await Database.open(dsn, settings=settings.database)
    try:
        await schema_version.check(database)
        print(f"{await Rewording(database).run(rest=0)} chunks were reworded")  # noqa: T201
    finally:
        await database.close()


async def _export_feedback(dsn: str, *, settings: Settings, rating: Rating | None) -> None:
    from storage import schema_version
    from storage.chat.feedback import FeedbackStore
    from storage.database import Database

    database = await Database.open(dsn, settings=settings.database)
    try:
        await schema_version.check(database)
        async for rated in FeedbackStore(database).every(rating=rating):
            print(rated.json_line())  # noqa: T201
        sys.stdout.flush()
    finally:
        await database.close()


if __name__ == "__main__":
    sys.exit(main())
