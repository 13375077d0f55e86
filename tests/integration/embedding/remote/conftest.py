"""A scripted embedding server, and tries that follow each other at once."""

import pytest
from support.embedding_server import start_embedding_server

import embedding.remote.patience


@pytest.fixture
def server():
    """Serve until the test ends."""
    with start_embedding_server() as started:
        yield started


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(embedding.remote.patience, "FIRST_PAUSE", 0.01)
