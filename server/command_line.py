"""What the commands of ``python -m server`` share: an open database of the right revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from storage import schema_version
from storage.database import Database
from storage.origin import at_command_line
from storage.server import database_server

if TYPE_CHECKING:
    from config.settings import Settings


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database for a command; what it does stands in the audit record as done at the command line.

    Raises:
        FootnoteError: it cannot be used; the message says what to do.

    """
    with database_server(settings) as server, at_command_line():
        database = await Database.open(server.dsn, settings=settings.database)
        try:
            await schema_version.check(database)
            yield database
        finally:
            await database.close()
