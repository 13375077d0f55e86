"""``python -m storage upgrade``: bring the database's schema up to this version; ``url``: print where it is."""

from __future__ import annotations

import argparse
import sys

from config import logging as logs
from config.errors import FootnoteError
from config.settings import SettingsError, load_settings
from storage.server import database_server


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m storage", description=__doc__)
    parser.add_argument("command", choices=["upgrade", "url"])
    chosen = parser.parse_args(arguments)
    try:
        settings = load_settings()
        logs.configure(settings.log)
        with database_server(settings) as server:
            if chosen.command == "url":
                print(server.dsn)  # noqa: T201 (the command's output)
                return 0
            from storage.schema import upgrade

            before, after = upgrade(server.dsn)
            print(f"The schema is at revision {after}" + ("" if before == after else f" (was: {before or 'empty'})"))  # noqa: T201
    except (SettingsError, FootnoteError) as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
