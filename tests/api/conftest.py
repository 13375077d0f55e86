"""Applications over a scripted runtime, called in process or served on a real socket."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog
from support.scripted import Connect, Logged, Make, Serve, connected, running, scripted_app

from config.logging import configure
from config.settings import LogSettings


@pytest.fixture(scope="session", autouse=True)
def _log() -> Iterator[io.StringIO]:
    """Log as a server does, into memory; loggers keep their stream, so there is one for the whole session."""
    written = io.StringIO()
    config = structlog.get_config()
    configure(LogSettings(format="json"), stream=written)
    yield written
    structlog.configure(**config)


@pytest.fixture
def logged(_log: io.StringIO) -> Logged:
    """Return the lines that were logged since the test began: ``logged()``."""
    begin = len(_log.getvalue())
    return lambda: [json.loads(line) for line in _log.getvalue()[begin:].splitlines()]


@pytest.fixture
def scripted() -> Make:
    """Make an application over a script: ``scripted(script, max_concurrency=1)``."""
    return scripted_app


@pytest.fixture
def client() -> Connect:
    """Call an application without a socket: ``async with client(app) as http``."""
    return connected


@pytest.fixture
def serve() -> Serve:
    """Serve an application over a real socket: ``with serve(app) as server``."""
    return running
