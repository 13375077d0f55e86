"""What the whole suite shares: a real PostgreSQL, a database of its own for each test, the real embedding model."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import fasteners
import pytest
import structlog
from httpx._transports import default as httpx_transports
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from support.databases import Databases
from support.environment import make_settings

from config import environment
from config.settings import Settings
from storage import schema_version
from storage.caller import LOCAL, acting_as
from storage.database import Database
from storage.local import LocalPostgres

SPEED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # the machine's is nobody's fault
hypothesis_settings.register_profile("short", max_examples=50, **SPEED)
hypothesis_settings.register_profile("soak", max_examples=2000, print_blob=True, **SPEED)
hypothesis_settings.load_profile("short")
# a client reads all of the machine's certificates, which takes 25 ms, and the tests make thousands
httpx_transports.create_ssl_context = functools.cache(httpx_transports.create_ssl_context)
SHARED_DIR = "TESTS_SHARED_DIR"
EVERYBODY = acting_as(LOCAL)
"""Whom the tests' own calls act for, as commands and servers without authentication do; a thread acts for nobody."""
LONGEST_MODULES = (
    "integration/ingestion/pipeline/test_telemetry.py",
    "integration/config/telemetry/test_traces.py",
    "integration/config/telemetry/test_dashboards.py",
    "integration/ingestion/ray/test_ray.py",
    "api/test_openapi.py",
    "integration/server/test_server.py",
    "integration/storage/collections/test_flips.py",
    "integration/ingestion/runs/test_reindex_killed.py",
    "integration/server/mcp/test_mcp.py",
    "unit/ingestion/readers/test_process_pool.py",
)
"""Half a minute and more each, the longest first."""
KEPT = ("models", "local-model")
"""What is made once a checkout, for it takes minutes: exports of models, and the small Gemma put together."""


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's environment and ``.env`` file out of the tests."""
    for name in list(os.environ):
        if name.startswith(environment.PREFIX) or name in environment.FALLBACKS:
            monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "ENV_FILE", Path("no-such-file"))
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(autouse=True)
def _no_log_of_other_tests() -> Iterator[None]:
    """Forget what other tests bound to the lines of their log; leave none that goes to a test's own output."""
    structlog.contextvars.clear_contextvars()
    before = structlog.get_config()["logger_factory"]
    yield
    if structlog.get_config()["logger_factory"] is not before:  # by a command in this process: its loggers keep stderr
        structlog.configure(logger_factory=before)
        pytest.fail("the log was configured within a test: it has to patch config.logging.configure")


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for all workers of this run; pytest's own is closed to PostgreSQL's user by the next run."""
    EVERYBODY.__enter__()
    if not hasattr(config, "workerinput"):
        _keep_bytecode(config.rootpath / ".cache" / "tests" / "bytecode")
        shared = os.environ[SHARED_DIR] = tempfile.mkdtemp(prefix="footnote-tests-")
        for name in KEPT:
            kept = config.rootpath / ".cache" / "tests" / name
            kept.mkdir(parents=True, exist_ok=True)
            Path(shared, name).symlink_to(kept)


def _keep_bytecode(folder: Path) -> None:
    """Keep what is compiled, whatever the environment says of that: the tests start more than a hundred interpreters.

    Nothing is written into an environment that may be somebody else's.
    """
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(folder)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest, so that no worker is left alone with one at the end."""
    places = {name: place for place, name in enumerate(LONGEST_MODULES)}
    items.sort(
        key=lambda item: places.get(item.path.relative_to(item.config.rootpath / "tests").as_posix(), len(places))
    )


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported: it would look at a million objects again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    EVERYBODY.__exit__(None, None, None)
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(SHARED_DIR), ignore_errors=True)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder that all workers of this run share."""
    return Path(os.environ[SHARED_DIR])


@pytest.fixture(scope="session")
def databases(shared_dir: Path) -> Iterator[Databases]:
    """Start PostgreSQL, with a migrated template to copy."""
    local = LocalPostgres(shared_dir)
    with fasteners.InterProcessLock(shared_dir / "template.lock"):  # nobody else has started it, or it is set up
        made = Databases(local.start())
        if made.prepare(lambda url: asyncio.run(schema_version.upgrade(url))):
            local.stop()
            local.start()
    yield made
    made.close()
    local.stop()


@pytest.fixture(scope="session")
def postgres(databases: Databases) -> Callable[[str], str]:
    """Return a function from a database's name to its URL."""
    return databases.url


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """Return the URL of a database of the test's own."""
    with databases.lend() as url:
        yield url


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
