"""What has to be in a database before the first migration: a schema, pgvector, and rights to both.

Looked for first, and made only where it is missing: an administrator may have made it, for a user who may not. Where
that has to be done yet, the error says by which command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from storage import app_role
from storage.connecting import LEAST_VERSION
from storage.database import APP_ROLE, SCHEMA
from storage.errors import SchemaMismatch

if TYPE_CHECKING:
    import sqlalchemy

LEAST_VECTOR = (0, 8)
"""Of pgvector: iterative scans and sparse vectors."""
ALL_OF_IT = "python -m storage roles prints all that an administrator has to run"
_DENIED = "42501"  # insufficient_privilege
_STATE = f"""SELECT current_setting('server_version_num')::int / 10000 AS version, current_user::text AS who,
    current_database()::text AS database, to_regnamespace('{SCHEMA}') IS NOT NULL AS has_schema,
    coalesce(has_schema_privilege(to_regnamespace('{SCHEMA}')::oid, 'USAGE, CREATE'), false) AS may_create,
    EXISTS (SELECT FROM pg_tables WHERE (schemaname, tablename) = ('{SCHEMA}', 'alembic_version')) AS has_tables"""
_VECTOR = """SELECT e.extversion AS version, quote_ident(n.nspname) AS schema, n.nspname AS name,
    has_schema_privilege(n.oid, 'USAGE') AS may_use
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"""
_HIDDEN = f"""SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    JOIN pg_roles r ON r.rolname = '{APP_ROLE}' WHERE e.extname = 'vector'
    AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE') AND ({app_role.CAN_SWITCH})"""
_OFFERED = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"


def prepare(connection: sqlalchemy.Connection) -> None:
    """See to it that migrations can begin, and that this session finds pgvector's types whatever schema they are in.

    Raises:
        SchemaMismatch: something is missing that this user may not make; the text says what, and who makes it how.

    """
    found = connection.exec_driver_sql(_STATE).mappings().one()
    who = found["who"]
    if found["version"] < LEAST_VERSION:
        msg = f"the database is PostgreSQL {found['version']}; Footnote needs {LEAST_VERSION} or newer"
        raise SchemaMismatch(msg)
    if not found["has_schema"]:
        with_remedy(
            connection,
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
            f'the user "{who}" may not create the schema {SCHEMA}; have an administrator run in the database '
            f'"{found["database"]}": CREATE SCHEMA {SCHEMA} AUTHORIZATION "{who}"; {ALL_OF_IT}',
        )
    elif not found["has_tables"] and not found["may_create"]:
        msg = (
            f'the user "{who}" may not use the schema {SCHEMA}; have its owner run: GRANT USAGE, CREATE ON SCHEMA '
            f'{SCHEMA} TO "{who}" WITH GRANT OPTION; {ALL_OF_IT}'
        )
        raise SchemaMismatch(msg)
    _prepare_vector(connection, who=who, database=found["database"])
    connection.commit()


def with_remedy(connection: sqlalchemy.Connection, statement: str, remedy: str) -> None:
    """Run a statement; raise `SchemaMismatch` with the remedy if this user may not.

    Raises:
        SchemaMismatch: see above.

    """
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) != _DENIED:
            raise
        raise SchemaMismatch(remedy) from None


def check_role_finds_vectors(connection: sqlalchemy.Connection) -> None:
    """Let the application's role use the schema that pgvector is in, where we switch to that role.

    Raises:
        SchemaMismatch: this user may not grant that.

    """
    schema = connection.exec_driver_sql(_HIDDEN).scalar()
    if schema is None:
        return
    grant = f"GRANT USAGE ON SCHEMA {schema} TO {APP_ROLE}"
    remedy = f"the role {APP_ROLE} may not use pgvector's schema; have an administrator run: {grant}"
    with_remedy(connection, grant, remedy)
    if connection.exec_driver_sql(_HIDDEN).scalar() is not None:  # it was a warning only
        raise SchemaMismatch(remedy)


def _prepare_vector(connection: sqlalchemy.Connection, *, who: str, database: str) -> None:
    found = connection.exec_driver_sql(_VECTOR).mappings().one_or_none()
    if found is None:
        if connection.exec_driver_sql(_OFFERED).scalar() is None:
            msg = (
                "the database's server has no pgvector; install it there (Debian and Ubuntu of apt.postgresql.org: "
                "postgresql-NN-pgvector, NN being the server's version), or allow the extension vector in the managed "
                "database's settings"
            )
            raise SchemaMismatch(msg)
        with_remedy(
            connection,
            "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public",
            f'the user "{who}" may not create the extension pgvector; have an administrator run in the database '
            f'"{database}": CREATE EXTENSION vector; {ALL_OF_IT}',
        )
        found = connection.exec_driver_sql(_VECTOR).mappings().one()
    if tuple(int(part) for part in found["version"].split(".")[:2]) < LEAST_VECTOR:
        least = ".".join(map(str, LEAST_VECTOR))
        msg = (
            f"pgvector is {found['version']} in this database, Footnote needs {least} or newer; install that on the "
            "server, and have an administrator run: ALTER EXTENSION vector UPDATE"
        )
        raise SchemaMismatch(msg)
    if not found["may_use"]:
        msg = (
            f'the user "{who}" may not use pgvector\'s schema; have an administrator run: GRANT USAGE ON SCHEMA '
            f'{found["schema"]} TO "{who}"'
        )
        raise SchemaMismatch(msg)
    if found["name"] not in connection.exec_driver_sql("SELECT current_schemas(true)").scalar_one():
        connection.exec_driver_sql(
            "SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), "
            f"'{found['schema'].replace(chr(39), chr(39) * 2)}'), false)"
        )
