"""What tests of the whole stack share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.stack import Stack, open_stack


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    """Lend a stack to the tests of a module."""
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as opened:
        yield opened
