"""A remote embedding model of a scripted server, open and proved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from config.settings import EmbeddingSettings
from embedding.remote.opening import open_remote

if TYPE_CHECKING:
    from support.embedding_server import EmbeddingServer

    from embedding.remote.embedder import RemoteEmbedder


@contextmanager
def opened(server: EmbeddingServer, **changes: Any) -> Iterator[RemoteEmbedder]:
    """Open the model; the server forgets what that asked of it."""
    given = {"provider": "openai_like", "base_url": server.openai_url, "model": "m", **changes}
    made = open_remote(EmbeddingSettings(**given))
    server.requests.clear()
    server.times.clear()
    server.most_at_once = 0
    try:
        yield made
    finally:
        made.close()
