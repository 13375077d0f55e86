"""The official client, pointed at a server of the tests'."""

from __future__ import annotations

from typing import Any

import openai

ASK: list[Any] = [{"role": "user", "content": "How do I change the port?"}]
MODEL = "footnote/default"
EMBEDDING_MODEL = "all-MiniLM-L6-v2"


def connect(url: str, **options: Any) -> openai.OpenAI:
    """Make a client that does not try again by itself."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", **{"max_retries": 0, "timeout": 20, **options})


def connect_async(url: str, **options: Any) -> openai.AsyncOpenAI:
    """Make an async client that does not try again by itself."""
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", **{"max_retries": 0, "timeout": 20, **options})
