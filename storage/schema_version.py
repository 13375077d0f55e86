"""The schema's revision: upgrading to it, and checking it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog

from storage import app_role
from storage.database import REFUSED, SCHEMA, UNAVAILABLE, Database, plain_dsn
from storage.errors import SchemaMismatch, StoreUnavailable

if TYPE_CHECKING:  # a server that starts needs neither SQLAlchemy nor Alembic
    import sqlalchemy

REVISION = "0017"
UPGRADE_LOCK = 0x466F6F74  # "Foot", key of the advisory lock of an upgrade
_log = structlog.get_logger(__name__)


async def upgrade(dsn: str) -> tuple[str | None, str]:
    """Upgrade the database to `REVISION`, one process at a time; return the revision before and after.

    Raises:
        SchemaMismatch: the database is newer than this Footnote, or pgvector cannot be installed.
        StoreUnavailable: it does not answer.

    """
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(plain_dsn(dsn))  # it reads the URL as `Database` does

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            before = await connection.run_sync(_upgrade)
    except (asyncpg.PostgresError, DBAPIError, *UNAVAILABLE) as exc:
        raise _named(exc) from None
    if before != REVISION:
        _log.info("schema upgraded", before=before, after=REVISION)
    return before, REVISION


def run_script(connection: sqlalchemy.Connection, script: str) -> None:
    """Run several statements as they are: SQLAlchemy would prepare them as one, and take colons for parameters."""
    connection.exec_driver_sql("SELECT 1")  # SQLAlchemy begins the transaction with the first statement that it sees
    connection.connection.run_async(lambda driver: driver.execute(script))


def _upgrade(connection: sqlalchemy.Connection) -> str | None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    connection.exec_driver_sql(f"SELECT pg_advisory_lock({UPGRADE_LOCK})")  # the connection's end lets go of it
    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.commit()
    before = _revision(connection)
    _refuse_newer(before)
    config.attributes["connection"] = connection
    # migrations are nobody's: the policies must let them see what they change
    connection.exec_driver_sql("SET footnote.system = 'on'")
    connection.exec_driver_sql("SET footnote.access = '{+}'")
    connection.commit()
    command.upgrade(config, REVISION)
    run_script(connection, app_role.ROLE)
    run_script(connection, app_role.GRANTS)
    connection.commit()
    return before


async def check(database: Database) -> None:
    """Raise an error that says what to do, unless the database is at `REVISION` and keeps tenants apart.

    Raises:
        SchemaMismatch: it is at another revision.
        RoleTooStrong: its policies do not hold for this process.

    """
    async with database.connection() as connection:
        table = await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.alembic_version")
        found = await connection.fetchval(f"SELECT version_num FROM {SCHEMA}.alembic_version") if table else None
    if found == REVISION:
        return await app_role.check(database)
    _refuse_newer(found)
    state = f"is at revision {found}" if found else "has no Footnote schema yet"
    msg = f"the database {state}, this Footnote needs {REVISION}; run: python -m storage upgrade"
    raise SchemaMismatch(msg)


def _revision(connection: sqlalchemy.Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    revision = context.get_current_revision()
    connection.commit()
    return revision


def _refuse_newer(found: str | None) -> None:
    if found is not None and found > REVISION:
        msg = f"the database is at revision {found}, newer than this Footnote's {REVISION}; run a newer Footnote"
        raise SchemaMismatch(msg)


def _named(error: Exception) -> SchemaMismatch | StoreUnavailable:
    """Return ours for an error of the driver's, which SQLAlchemy wraps twice or not at all."""
    orig = getattr(error, "orig", error)
    cause = orig.__cause__ or orig
    first_line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if isinstance(cause, (*UNAVAILABLE, *REFUSED)):
        return StoreUnavailable(f"the database is not available: {first_line}")
    return SchemaMismatch(f"the schema cannot be upgraded: {first_line}")
