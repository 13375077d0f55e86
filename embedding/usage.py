"""How many tokens a run spent on remote embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Spent:
    """Tokens that remote models read, as their providers count them; else as they are estimated here."""

    tokens: int = 0


_SPENT: ContextVar[Spent | None] = ContextVar("spent", default=None)


@contextmanager
def counted_tokens(spent: Spent) -> Iterator[None]:
    """Count in `spent` what the block, and the tasks that it starts, embed remotely."""
    token = _SPENT.set(spent)
    try:
        yield
    finally:
        _SPENT.reset(token)


def count_tokens(tokens: int) -> None:
    """Count tokens of a call for whoever counts."""
    if (spent := _SPENT.get()) is not None:
        spent.tokens += tokens
