"""What a model writes, as the engines' readers of it get it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from server.answers import Reasoning
from server.engines.record import Record


async def written(*pieces: str | Reasoning, record: Record) -> AsyncGenerator[str, None]:
    """Yield pieces of text; of reasoning the record tells, and an empty piece says that it does."""
    for piece in pieces:
        if isinstance(piece, Reasoning):
            record.thoughts.append(piece)
            yield ""
        else:
            yield piece
