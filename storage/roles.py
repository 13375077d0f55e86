"""SQL for an administrator: the three roles that a database of one's own needs, with as few rights as each can have."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from storage.database import APP_ROLE, CHUNKS, SCHEMA

READER = "footnote_reader"
_NONE = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def names_in(dsn: str) -> tuple[str, str]:
    """Return the user and the database that a URL names; those that this module proposes where it names none."""
    parts = urlsplit(dsn)
    return unquote(parts.username or "") or "footnote", unquote(parts.path.removeprefix("/")) or "footnote"


def statements(*, owner: str, database: str, reader: str = READER) -> str:
    """Return a script for psql, which may be run again.

    Args:
        owner: the user in ``FOOTNOTE_DATABASE__URL``, who owns the tables, and acts as `APP_ROLE` when it serves.
        database: its database, which exists.
        reader: the user of programs that read chunks by themselves, with LlamaIndex's own classes say.

    """
    roles = "\n".join(
        _ROLE.format(role=_text(f"CREATE ROLE {_name(name)} {options} {_NONE}"), name=_text(name))
        for name, options in ((owner, "LOGIN"), (APP_ROLE, "NOLOGIN"), (reader, "LOGIN"))
    )
    granted = f"GRANT {APP_ROLE} TO {_name(owner)}"
    return _SCRIPT.format(
        roles=roles,
        app=APP_ROLE,
        schema=SCHEMA,
        prefix=CHUNKS,
        owner=_name(owner),
        database=_name(database),
        reader=_name(reader),
        granted=_text(granted),
        granted_since_16=_text(f"{granted} WITH INHERIT FALSE, SET TRUE"),
        to_all=_text(f" TO {_name(owner)}, {APP_ROLE}, {_name(reader)}"),
        to_reader=_text(f" TO {_name(reader)}"),
    )


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_ROLE = "SELECT {role} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) \\gexec"

_SCRIPT = """\
-- Roles for Footnote. For psql, as an administrator, connected to the database {database}; it may be run again.
-- Roles get no password here. Set them afterwards: \\password {owner}, \\password {reader}

-- {owner}: owns the tables, upgrades the schema, and is who Footnote logs in as.
-- {app}: what Footnote's statements run as; row-level security holds for it, and nobody logs in as it.
-- {reader}: reads passages and their vectors, and nothing else: of all tenants, whoever may read their documents.
{roles}

SELECT CASE WHEN current_setting('server_version_num')::int >= 160000
    THEN {granted_since_16} ELSE {granted} END \\gexec
GRANT CONNECT ON DATABASE {database} TO {owner}, {reader};

CREATE EXTENSION IF NOT EXISTS vector;
SELECT format('GRANT USAGE ON SCHEMA %I', n.nspname) || {to_all}
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector' \\gexec

CREATE SCHEMA IF NOT EXISTS {schema};
GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner} WITH GRANT OPTION;
GRANT USAGE ON SCHEMA {schema} TO {app}, {reader};

-- The tables of passages that are there by now. A re-index makes a new one: run this again afterwards, as {owner} where
-- the administrator is no superuser.
SELECT format('GRANT SELECT ON {schema}.%I', relname) || {to_reader} FROM pg_class
    WHERE relnamespace = to_regnamespace('{schema}') AND relkind = 'r' AND relname ~ '^{prefix}[0-9]+$' \\gexec
"""
