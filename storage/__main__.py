"""``python -m storage``: upgrade the database's schema, reword chunks, print where it is, export feedback."""

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
from storage.server import database_server


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        logs.configure(settings.log)
        with database_server(settings) as server, acting_as(LOCAL):
            if chosen.command == "url":
                print(server.dsn)  # noqa: T201 (the command's output)
            elif chosen.command == "upgrade":
                asyncio.run(_upgrade(server.dsn))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m storage", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade", help="bring the schema up to this version")
    commands.add_parser("url", help="print the database's address")
    commands.add_parser("reword", help="bring chunks of before an upgrade to what they are found by now, without rests")
    export = commands.add_parser("export-feedback", help="print ratings and their answers as JSON Lines")
    export.add_argument("--rating", choices=["up", "down"], help="these only")
    return parser


async def _upgrade(dsn: str) -> None:
    from storage.schema_version import upgrade

    before, after = await upgrade(dsn)
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
