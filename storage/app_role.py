"""The role that the application's statements run as: it owns no table and bypasses no policy.

Every upgrade makes it where it may, and grants it what it needs: an administrator may have made it since the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.database import APP_ROLE, SCHEMA
from storage.errors import RoleTooStrong

if TYPE_CHECKING:
    from storage.database import Database

ROLE = f"""
DO $$
DECLARE
    how text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT FALSE, SET TRUE'
        ELSE '' END;
BEGIN
    -- roles are the whole cluster's: another database's upgrade may make it at this moment
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
        BEGIN
            CREATE ROLE {APP_ROLE} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role(current_user, '{APP_ROLE}', CASE how WHEN '' THEN 'MEMBER' ELSE 'SET' END) THEN
        EXECUTE format('GRANT {APP_ROLE} TO %I', current_user) || how;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE '{APP_ROLE}: an administrator has to create the role: python -m storage roles';
END
$$;
"""

GRANTS = f"""
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
        GRANT USAGE ON SCHEMA footnote TO {APP_ROLE};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA footnote TO {APP_ROLE};
        GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA footnote TO {APP_ROLE};
        REVOKE INSERT, UPDATE, DELETE ON footnote.alembic_version FROM {APP_ROLE};
        -- tables of chunks, and those of later revisions
        ALTER DEFAULT PRIVILEGES IN SCHEMA footnote GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP_ROLE};
        ALTER DEFAULT PRIVILEGES IN SCHEMA footnote GRANT USAGE, SELECT ON SEQUENCES TO {APP_ROLE};
    END IF;
END
$$;
"""

KEEPS = f"""
DO $$
DECLARE
    part regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
        RETURN;
    END IF;
    IF to_regprocedure('footnote.find_api_key(text)') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION footnote.find_api_key(text), footnote.note_api_keys_used(text[], timestamptz[])
            TO {APP_ROLE};
    END IF;
    IF to_regclass('footnote.audit') IS NOT NULL THEN -- the owner's triggers and functions add to it
        REVOKE ALL ON footnote.audit, footnote.audit_chain, footnote.audit_pending FROM {APP_ROLE};
        GRANT SELECT ON footnote.audit, footnote.audit_chain, footnote.audit_pending TO {APP_ROLE};
        GRANT EXECUTE ON FUNCTION footnote.audit_refusals(jsonb) TO {APP_ROLE};
        FOR part IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'footnote.audit'::regclass LOOP
            EXECUTE format('REVOKE ALL ON %s FROM {APP_ROLE}', part);
        END LOOP;
    END IF;
END
$$;
"""
"""What the role may do less, or besides: after `GRANTS`, which gives rights to all tables, and in its transaction."""

CAN_SWITCH = f"""SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}' AND pg_has_role(oid,
    CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END))"""
CAN_USE = f"SELECT CASE WHEN ({CAN_SWITCH}) THEN has_schema_privilege('{APP_ROLE}', '{SCHEMA}', 'USAGE') ELSE false END"

_IS_TOO_STRONG = """
SELECT current_user::text FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)"""


async def check(database: Database) -> None:
    """Raise `RoleTooStrong`, which says what to do, where policies do not hold for this process."""
    if await _too_strong(database) is None:
        return
    await database.renew()  # they may be of before the upgrade
    if (role := await _too_strong(database)) is not None:
        raise RoleTooStrong(role, needed=APP_ROLE)


async def _too_strong(database: Database) -> str | None:
    async with database.connection() as connection:
        role: str | None = await connection.fetchval(_IS_TOO_STRONG)
    return role
