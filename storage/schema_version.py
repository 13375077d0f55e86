"""The schema's revision: upgrading to it, and checking it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog

from config.settings import DatabaseSettings
from storage import app_role
from storage.connecting import NAME, Ways
from storage.database import REFUSED, SCHEMA, UNAVAILABLE, Database
from storage.errors import SchemaMismatch, StoreRefused, StoreUnavailable
from storage.refusals import remedy, words

if TYPE_CHECKING:  # a server that starts needs neither SQLAlchemy nor Alembic
    import sqlalchemy
    from alembic.config import Config

REVISION = "0022"
LOCK_TIMEOUT = "400ms"
"""Less than ``deadlock_timeout``: an upgrade gives way before anybody else is made to."""
PAUSE = 0.5
"""Seconds, in which those that queued behind an upgrade get through."""
TRIES = 1200
"""Of a migration, in ten minutes at least."""
SERVES_FROM = "serves_from"
"""Of a migration, the oldest revision whose code goes on working above it; without it, its own."""
UPGRADE_LOCK = 0x466F6F74  # "Foot", key of the advisory lock of an upgrade
NOTE = "revision {} serves code from revision {}"
"""The table's comment; one of another revision, as an upgrade that was broken off leaves it, does not count."""
_NOTED = f"""SELECT substring(obj_description('{SCHEMA}.alembic_version'::regclass, 'pg_class')
    FROM '^{NOTE.format("' || version_num || '", "([0-9]+)")}$') FROM {SCHEMA}.alembic_version"""
_FOUND = f"SELECT version_num AS revision, ({_NOTED}) AS serves_from FROM {SCHEMA}.alembic_version"
_HAS_TABLE = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'alembic_version')"
_OLDEST = """
SELECT pid, usename AS "user", application_name AS program, state,
    extract(epoch FROM now() - xact_start)::int AS seconds
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1"""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Schema:
    """What revision a database is at, and the oldest one whose code works above it; None: nobody has said so."""

    revision: str | None
    serves_from: str | None = None

    @property
    def is_newer(self) -> bool:
        """Whether a newer Footnote has upgraded it."""
        return self.revision is not None and self.revision > REVISION

    @property
    def serves(self) -> bool:
        """Whether this Footnote works above it."""
        known = self.is_newer and self.serves_from is not None and self.serves_from <= REVISION
        return self.revision == REVISION or known

    def __str__(self) -> str:
        """Return a line for people."""
        newer = f", newer than this Footnote's {REVISION}, which it serves" if self.is_newer else ""
        return f"revision {self.revision}{newer}"


async def upgrade(dsn: str, settings: DatabaseSettings | None = None) -> tuple[str | None, str]:
    """Upgrade the database to `REVISION`, one process at a time; return the revision before and after.

    A newer one that serves this Footnote, too, stays as it is. The settings say how a pooler is passed.

    It waits for those who use the tables, and never holds them up for more than a moment.

    Raises:
        SchemaMismatch: the database is newer, and does not serve this Footnote, or something is missing that an
            administrator has to make.
        StoreRefused: it cannot be connected to; the message says what to change.
        StoreUnavailable: it does not answer, or somebody used the tables all the time.

    """
    settings = settings or DatabaseSettings()
    ways = Ways(dsn, settings)
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        await ways.find_direct()
        return await ways.direct.connect(timeout=settings.connect_timeout, server_settings=NAME)

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            before = await connection.run_sync(_upgrade)
    except (asyncpg.PostgresError, DBAPIError, *UNAVAILABLE) as exc:
        raise _named(exc, setting=ways.direct.setting) from None
    if before is not None and before > REVISION:
        return before, before
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

    from storage.preparing import prepare

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    connection.exec_driver_sql(f"SELECT pg_advisory_lock({UPGRADE_LOCK})")  # the connection's end lets go of it
    prepare(connection)
    before = _revision(connection)
    if before is not None and before > REVISION:
        _refuse_newer(Schema(before, connection.exec_driver_sql(_NOTED).scalar()))
        connection.commit()
        return before
    config.attributes["connection"] = connection
    # migrations are nobody's: the policies must let them see what they change
    connection.exec_driver_sql("SET footnote.system = 'on'")
    connection.exec_driver_sql("SET footnote.access = '{+}'")
    connection.commit()
    _patiently(connection, lambda: command.upgrade(config, REVISION))
    _patiently(connection, lambda: _note_and_grant(connection, config))
    return before


def _note_and_grant(connection: sqlalchemy.Connection, config: Config) -> None:
    from storage.preparing import check_role_finds_vectors

    note = NOTE.format(REVISION, _serves_from(config))
    run_script(connection, f"COMMENT ON TABLE {SCHEMA}.alembic_version IS '{note}'")
    run_script(connection, app_role.ROLE)
    check_role_finds_vectors(connection)
    run_script(connection, app_role.GRANTS)
    run_script(connection, app_role.KEEPS)
    if not connection.exec_driver_sql(app_role.CAN_USE).scalar():
        _log.warning("the role footnote_app cannot be used; python -m storage roles prints what lets us")
    connection.commit()


def _patiently(connection: sqlalchemy.Connection, work: Callable[[], None]) -> None:
    """Do work that may be done again, and that wants tables for itself, without holding up those who use them.

    Whoever comes after a statement that waits for such a lock waits behind it. So none waits for longer than
    `LOCK_TIMEOUT`; then the migration, a transaction of its own, is undone, those that queued get through, and it is
    tried again. Those before it stay done.
    """
    from sqlalchemy.exc import DBAPIError

    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.commit()
    for attempt in range(TRIES):
        try:
            return work()
        except (DBAPIError, asyncpg.LockNotAvailableError) as exc:
            if not isinstance(_cause(exc), asyncpg.LockNotAvailableError):
                raise
            connection.rollback()
        if not attempt:
            _log.info("the upgrade waits for those who use the tables", **_oldest(connection))
        time.sleep(PAUSE)
    msg = f"the tables were in use for {TRIES * PAUSE / 60:.0f} minutes: {_oldest(connection)}; try again"
    raise StoreUnavailable(msg)


def _oldest(connection: sqlalchemy.Connection) -> dict[str, object]:
    """Return whose transaction is the oldest: what it holds is mostly what others wait for."""
    found = connection.exec_driver_sql(_OLDEST).mappings().first()
    connection.commit()
    return dict(found or {})


async def check(database: Database) -> Schema:
    """Raise an error that says what to do, unless this Footnote works above the schema, and it keeps tenants apart.

    Raises:
        SchemaMismatch: it is older, or so much newer that it does not serve this Footnote any more.
        RoleTooStrong: its policies do not hold for this process.

    """
    async with database.connection() as connection:
        table = await connection.fetchval(_HAS_TABLE, SCHEMA)  # not to_regclass: we may have no right to look there
        row = await connection.fetchrow(_FOUND) if table else None
    found = Schema(row["revision"], row["serves_from"]) if row else Schema(None)
    if found.serves:
        await app_role.check(database)
        return found
    _refuse_newer(found)
    state = f"is at revision {found.revision}" if found.revision else "has no Footnote schema yet"
    msg = f"the database {state}, this Footnote needs {REVISION}; run: python -m storage upgrade"
    raise SchemaMismatch(msg)


def _serves_from(config: Config) -> str:
    """Return the oldest revision whose code works above all migrations."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(config).walk_revisions()
    return max(getattr(each.module, SERVES_FROM, each.revision) for each in scripts)


def _revision(connection: sqlalchemy.Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    revision = context.get_current_revision()
    connection.commit()
    return revision


def _refuse_newer(found: Schema) -> None:
    if found.is_newer and not found.serves:
        newer = f"the database is at revision {found.revision}, newer than this Footnote's {REVISION}"
        msg = f"{newer}; run a newer Footnote"
        raise SchemaMismatch(msg)


def _named(error: Exception, *, setting: str) -> SchemaMismatch | StoreUnavailable:
    """Return ours for an error of the driver's."""
    cause = _cause(error)
    if not hasattr(error, "statement") and (told := remedy(cause, setting=setting)) is not None:
        return StoreRefused(told)
    if isinstance(cause, (*UNAVAILABLE, *REFUSED)):
        return StoreUnavailable(f"the database is not available: {words(cause)}")
    return SchemaMismatch(f"the schema cannot be upgraded: {words(cause)}")


def _cause(error: Exception) -> BaseException:
    """Return the driver's error, which SQLAlchemy wraps twice or not at all."""
    orig = getattr(error, "orig", error)
    cause: BaseException = orig.__cause__ or orig
    return cause
