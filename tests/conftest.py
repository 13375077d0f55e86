"""What the whole suite shares: a real PostgreSQL, a database of its own for each test, the real embedding model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import fasteners
import psycopg2
import pytest

from config.settings import Settings
from storage import schema
from storage.database import Database
from storage.local import LocalPostgres

TEMPLATE = "footnote_template"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's environment and ``.env`` file out of the tests."""
    import os

    from config import settings

    for name in list(os.environ):
        if name.startswith(settings.PREFIX) or name in settings.FALLBACKS:
            monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "ENV_FILE", Path("no-such-file"))
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def postgres(shared_dir: Path) -> Iterator[Callable[[str], str]]:
    """Start PostgreSQL, with a migrated template; return a function from a database's name to its URL."""
    local = LocalPostgres(shared_dir)
    dsn = local.start()

    def url(database: str) -> str:
        return dsn.replace("/footnote?", f"/{quote(database)}?")

    with fasteners.InterProcessLock(shared_dir / "template.lock"):
        if not _execute(url("postgres"), "SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE):
            _execute(url("postgres"), f"CREATE DATABASE {TEMPLATE}_new")
            schema.upgrade(url(f"{TEMPLATE}_new"))
            _execute(url("postgres"), f"ALTER DATABASE {TEMPLATE}_new RENAME TO {TEMPLATE}")
    yield url
    local.stop()


@pytest.fixture
def dsn(postgres: Callable[[str], str], shared_dir: Path) -> Iterator[str]:
    """Return the URL of a database of the test's own."""
    name = f"test_{uuid4().hex}"
    with fasteners.InterProcessLock(shared_dir / "template.lock"):  # a template can be cloned by one at a time
        _execute(postgres("postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield postgres(name)
    with contextlib.suppress(psycopg2.Error):
        _execute(postgres("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(dsn: str, shared_dir: Path) -> Settings:
    """Return settings for the test's own database; models' exports are shared."""
    return make_settings(dsn, shared_dir)


def make_settings(dsn: str, data_dir: Path, **groups: dict[str, object]) -> Settings:
    """Return settings, with further groups of values."""
    database = {"url": dsn, "connect_timeout": 5, **groups.pop("database", {})}
    llm = {"provider": "extractive", **groups.pop("llm", {})}
    return Settings(data_dir=data_dir, database=database, llm=llm, **groups)  # type: ignore[arg-type]


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Open the test's own database."""
    assert settings.database.url
    opened = await Database.open(settings.database.url.get_secret_value(), settings=settings.database)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def embedder(shared_dir: Path) -> Iterator[object]:
    """Load the real embedding model, once a worker."""
    from ingestion.embedding import open_embedder

    with fasteners.InterProcessLock(shared_dir / "embedder.lock"):  # one export, not one a worker
        opened = open_embedder(Settings(data_dir=shared_dir))
    yield opened
    opened.close()


def _execute(url: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture
def run_in_thread() -> Callable[..., object]:
    """Run a sync function off the event loop."""
    return asyncio.to_thread
