"""A call of MCP's ends when its key is revoked, and counts as a stream while its answer is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from support.model_server import Reply
from support.stack import SERVERS, Stack

BOOTSTRAP = "b" * 40
AUTH = {"mode": "required", "bootstrap_key": BOOTSTRAP}
QUESTION = {"question": "When is the lamp lit?"}
SLOW = Reply(" ".join(f"word{number}" for number in range(600)) + " [1].", delay=0.1)
PATIENCE = 30.0
"""Seconds in which a call has to end; the answer would take sixty."""


async def make(http: httpx.AsyncClient, **members: Any) -> dict[str, str]:
    made = await http.post("/keys", json={"name": "test", "scopes": ["query"], "subject": "ada", **members})
    return {"Authorization": f"Bearer {made.raise_for_status().json()['key']}"}


@asynccontextmanager
async def client_of(url: str, headers: dict[str, str]) -> AsyncIterator[Client]:
    async with (
        create_mcp_http_client(headers=headers) as own,
        Client(streamable_http_client(f"{url}/mcp", http_client=own)) as client,
    ):
        yield client


async def until_asked(stack: Stack, times: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(stack.model.requests) < times:  # noqa: ASYNC110 (the model's server tells nobody)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("way", SERVERS)
async def test_a_call_ends_with_its_key(stack: Stack, way: str) -> None:
    stack.fresh(default=SLOW)
    with getattr(stack, way)(auth=AUTH) as served:
        url, admin = str(served.base_url).rstrip("/"), {"Authorization": f"Bearer {BOOTSTRAP}"}
        async with httpx.AsyncClient(base_url=url, headers=admin, timeout=PATIENCE) as http:
            ada = await make(http)
            async with client_of(url, ada) as client:
                call = asyncio.create_task(client.call_tool("ask", QUESTION))
                await until_asked(stack, 1)
                revoked = await http.delete(f"/keys/{ada['Authorization'].split('_')[1]}")
                assert revoked.status_code == 204
                result = await asyncio.wait_for(call, PATIENCE)
    assert result.is_error
    problem = (result.meta or {})["footnote/problem"]
    assert (problem["type"], problem["detail"]) == ("/problems/unauthenticated", "the key was revoked")
    assert "word1" not in str(result)


@pytest.mark.parametrize("way", SERVERS)
async def test_an_answer_counts_as_a_stream_of_its_key(stack: Stack, way: str) -> None:
    stack.fresh(default=SLOW)
    with getattr(stack, way)(auth=AUTH) as served:
        url, admin = str(served.base_url).rstrip("/"), {"Authorization": f"Bearer {BOOTSTRAP}"}
        async with httpx.AsyncClient(base_url=url, headers=admin, timeout=PATIENCE) as http:
            ada = await make(http, limits={"key_streams": 1})
            async with client_of(url, ada) as client:
                call = asyncio.create_task(client.call_tool("ask", QUESTION))
                await until_asked(stack, 1)
                refused = await client.call_tool("ask", QUESTION)
                assert refused.is_error
                assert (refused.meta or {})["footnote/problem"]["type"] == "/problems/rate-limited"
                assert (await http.post("/query/stream", json=QUESTION, headers=ada)).status_code == 429
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
