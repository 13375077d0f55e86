"""How many connections PostgreSQL allows us, and how many are open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import Database


@dataclass(frozen=True, slots=True)
class Budget:
    """Connections to PostgreSQL, whoever's they are.

    Attributes:
        allowed: to this user in this database.
        open: of all users of the server.

    """

    allowed: int
    open: int


async def budget(database: Database) -> Budget:
    """Ask PostgreSQL; a pooler's own limits cannot be asked for."""
    async with database.transaction(readonly=True) as connection:
        row = await connection.fetchrow(_BUDGET)
    assert row is not None  # noqa: S101 (it has no condition)
    return Budget(allowed=row["allowed"], open=row["open"])


# settings of 16 and newer are null before; a limit of -1 is none
_BUDGET = """
    SELECT least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = session_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())) AS allowed,
        (SELECT sum(numbackends)::int FROM pg_stat_database) AS open"""
