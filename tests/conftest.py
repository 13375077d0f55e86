"""What the whole suite shares: a real PostgreSQL, a database of its own for each test, the real embedding model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import fasteners
import psycopg2
import pytest
import structlog
from support.environment import make_settings
from support.sql import execute

from config import settings as settings_module
from config.settings import Settings
from storage import schema
from storage.database import Database
from storage.local import LocalPostgres

TEMPLATE = "footnote_template"
SHARED_DIR = "TESTS_SHARED_DIR"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's environment and ``.env`` file out of the tests."""
    for name in list(os.environ):
        if name.startswith(settings_module.PREFIX) or name in settings_module.FALLBACKS:
            monkeypatch.delenv(name)
    monkeypatch.setattr(settings_module, "ENV_FILE", Path("no-such-file"))
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(autouse=True)
def _no_context_from_other_tests() -> None:
    """Forget what other tests bound to the lines of their log."""
    structlog.contextvars.clear_contextvars()


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for all workers of this run; pytest's own is closed to PostgreSQL's user by the next run."""
    if not hasattr(config, "workerinput"):
        os.environ[SHARED_DIR] = tempfile.mkdtemp(prefix="footnote-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(SHARED_DIR), ignore_errors=True)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder that all workers of this run share."""
    return Path(os.environ[SHARED_DIR])


@pytest.fixture(scope="session")
def postgres(shared_dir: Path) -> Iterator[Callable[[str], str]]:
    """Start PostgreSQL, with a migrated template; return a function from a database's name to its URL."""
    local = LocalPostgres(shared_dir)
    dsn = local.start()

    def url(database: str) -> str:
        return dsn.replace("/footnote?", f"/{quote(database)}?")

    with fasteners.InterProcessLock(shared_dir / "template.lock"):
        if not execute(url("postgres"), "SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE):
            execute(url("postgres"), f"CREATE DATABASE {TEMPLATE}_new")
            asyncio.run(schema.upgrade(url(f"{TEMPLATE}_new")))
            execute(url("postgres"), f"ALTER DATABASE {TEMPLATE}_new RENAME TO {TEMPLATE}")
    yield url
    local.stop()


@pytest.fixture
def dsn(postgres: Callable[[str], str], shared_dir: Path) -> Iterator[str]:
    """Return the URL of a database of the test's own."""
    name = f"test_{uuid4().hex}"
    with fasteners.InterProcessLock(shared_dir / "template.lock"):  # a template can be cloned by one at a time
        execute(postgres("postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield postgres(name)
    with contextlib.suppress(psycopg2.Error):
        execute(postgres("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(dsn: str, shared_dir: Path) -> Settings:
    """Return settings for the test's own database; models' exports are shared."""
    return make_settings(dsn, shared_dir)


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
    from embedding.opening import open_embedder

    with fasteners.InterProcessLock(shared_dir / "embedder.lock"):  # one export, not one a worker
        opened = open_embedder(Settings(data_dir=shared_dir))
    yield opened
    opened.close()
