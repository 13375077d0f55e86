"""The schema's version: bringing a database up to it, and refusing to work with another."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import OperationalError, ProgrammingError

from storage.database import SCHEMA, Database, plain_dsn
from storage.errors import SchemaMismatch, StoreUnavailable

REVISION = "0008"
UPGRADE_LOCK = 0x466F6F74  # "Foot", the key of the advisory lock that one upgrade at a time holds
_log = structlog.get_logger(__name__)


def upgrade(dsn: str) -> tuple[str | None, str]:
    """Bring the database to `REVISION`, one process at a time; return the revision before and after.

    Raises:
        SchemaMismatch: the database is newer than this Footnote, or pgvector cannot be installed in it.
        StoreUnavailable: it does not answer.

    """
    engine = sqlalchemy.create_engine(
        plain_dsn(dsn).replace("postgresql://", "postgresql+psycopg2://", 1), hide_parameters=True
    )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": UPGRADE_LOCK})
            connection.execute(sqlalchemy.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            connection.commit()
            before = _revision(connection)
            _refuse_newer(before)
            config.attributes["connection"] = connection
            command.upgrade(config, REVISION)
            connection.commit()
    except OperationalError as exc:
        msg = f"the database is not available: {str(exc.orig).strip().splitlines()[0]}"
        raise StoreUnavailable(msg) from None
    except ProgrammingError as exc:
        msg = f"the schema cannot be upgraded: {str(exc.orig).strip().splitlines()[0]}"
        raise SchemaMismatch(msg) from None
    finally:
        engine.dispose()
    if before != REVISION:
        _log.info("schema upgraded", before=before, after=REVISION)
    return before, REVISION


async def check(database: Database) -> None:
    """Raise `SchemaMismatch`, with what to do, unless the database is at `REVISION`."""
    async with database.connection() as connection:
        table = await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.alembic_version")
        found = await connection.fetchval(f"SELECT version_num FROM {SCHEMA}.alembic_version") if table else None
    if found == REVISION:
        return
    _refuse_newer(found)
    state = f"is at revision {found}" if found else "has no Footnote schema yet"
    msg = f"the database {state}, this Footnote needs {REVISION}; run: python -m storage upgrade"
    raise SchemaMismatch(msg)


def _revision(connection: sqlalchemy.Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    revision = context.get_current_revision()
    connection.commit()
    return revision


def _refuse_newer(found: str | None) -> None:
    if found is not None and found > REVISION:
        msg = f"the database is at revision {found}, newer than this Footnote's {REVISION}; run a newer Footnote"
        raise SchemaMismatch(msg)
