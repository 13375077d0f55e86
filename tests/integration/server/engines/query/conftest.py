"""What the tests of the query engines share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.model_server import ModelServer, start_model_server


@pytest.fixture(scope="module")
def model_server() -> Iterator[ModelServer]:
    """Start a scripted model for the tests of a module."""
    with start_model_server() as server:
        yield server
