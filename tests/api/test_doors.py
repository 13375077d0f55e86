"""One question, three doors: HTTP, OpenAI's protocol and MCP offer the same options, and show the same of an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from mcp.client import Client
from support.openai_clients import ASK, MODEL, connect_async
from support.scripted import Make, Serve

from server.answers import Question
from server.api.schemas.answers import AnswerView, SearchView
from server.api.schemas.questions import SearchOptions

DOCS = Path(__file__).parents[2] / "docs"
REWRITTEN = {"filters"}  # MCP's has no groups within groups, and a hint for language models


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[tuple[httpx.AsyncClient, openai.AsyncOpenAI, Client]]:
    """Give a client for each door of a server."""
    async with (
        httpx.AsyncClient(base_url=url) as http,
        connect_async(url) as chat,
        Client(f"{url}/mcp") as mcp,
    ):
        yield http, chat, mcp


async def published(url: str) -> dict[str, dict[str, Any]]:
    """Return the properties that each door publishes, by door."""
    async with httpx.AsyncClient(base_url=url) as http:
        schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]
    options = schemas["CompletionBody"]["properties"]["footnote"]["anyOf"][0]["$ref"].rpartition("/")[2]
    async with Client(f"{url}/mcp") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    return {
        "/query": schemas["QuestionBody"]["properties"],
        "/chat": schemas["ChatBody"]["properties"],
        "/v1/chat/completions": schemas[options]["properties"],
        "search": tools["search"].input_schema["properties"],
        "ask": tools["ask"].input_schema["properties"],
    }


def bounds(schema: Any) -> Any:
    """Return a schema without what some doors leave out: titles, defaults of null, the pattern that forbids NUL."""
    if isinstance(schema, list):
        return [bounds(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: bounds(value)
        for key, value in schema.items()
        if key != "title" and (key, value) != ("default", None) and not (key == "pattern" and r"\x00" in value)
    }


async def test_every_door_offers_the_same_options_with_the_same_bounds(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        doors = await published(server.url)
    generated = SearchOptions.model_json_schema()["properties"]
    assert len(generated) >= 9
    for door, offered in doors.items():
        assert set(generated) <= set(offered), door
        for name in set(generated) - REWRITTEN:
            assert bounds(offered[name]) == bounds(generated[name]), (door, name)
    for door in ("/chat", "ask"):
        for name in ("temperature", "max_tokens"):
            assert bounds(doors[door][name]) == bounds(doors["/query"][name]), (door, name)
    assert set(doors["/v1/chat/completions"]) == set(generated)
    assert set(doors["search"]) == {"question", "collection", *generated}
    assert set(doors["ask"]) == {"question", "collection", "temperature", "max_tokens", *generated}


@pytest.mark.parametrize("page", ["querying.md", "openai.md", "mcp.md"])
def test_every_door_s_page_names_every_option(page: str) -> None:
    text = (DOCS / page).read_text()
    assert [name for name in SearchOptions.model_fields if f"`{name}`" not in text] == []


def test_what_no_request_says_is_the_same_as_what_no_code_says() -> None:
    defaults = {field.name: field.default for field in fields(Question) if field.default is not MISSING}
    assert {name: field.default for name, field in SearchOptions.model_fields.items()}.items() <= defaults.items()


OPTIONS = {
    "k": 3,
    "mode": "keyword",
    "filters": {"filters": [{"key": "lang", "value": "en"}]},
    "document_ids": ["doc-1"],
    "min_score": 0.5,
    "max_per_document": 2,
    "near_duplicates": "keep",
    "join_neighbours": False,
    "rerank": True,
}


async def test_an_option_means_the_same_at_every_door(scripted: Make, serve: Serve) -> None:
    assert set(OPTIONS) == set(SearchOptions.model_fields)
    made = scripted()
    asked = {"question": "How do I change the port?", "temperature": 0.5, "max_tokens": 50}
    with serve(made.app) as server:
        async with clients(server.url) as (http, chat, mcp):
            assert (await http.post("/query", json=asked | OPTIONS)).status_code == 200
            message = {"message": asked["question"], "temperature": 0.5, "max_tokens": 50}
            assert (await http.post("/chat", json=message | OPTIONS)).status_code == 200
            await chat.chat.completions.create(
                model=MODEL, messages=ASK, temperature=0.5, max_tokens=50, extra_body={"footnote": OPTIONS}
            )
            await mcp.call_tool("ask", asked | OPTIONS)
    first, *others = made.answers.questions
    assert len(others) == 3
    assert first.near_duplicates == "keep"
    assert all(question == first for question in others)


async def test_every_door_shows_the_same_of_an_answer(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        async with clients(server.url) as (http, chat, mcp):
            whole = (await http.post("/query", json={"question": "port?"})).json()
            found = (await http.post("/retrieve", json={"question": "port?"})).json()
            completion = await chat.chat.completions.create(model=MODEL, messages=ASK)
            told = (await mcp.call_tool("ask", {"question": "port?"})).structured_content
            searched = (await mcp.call_tool("search", {"question": "port?"})).structured_content
    footnote: Any = completion.footnote  # type: ignore[attr-defined]
    for shown in (whole, footnote, told):
        assert set(AnswerView.model_fields) <= set(shown)
        assert shown["request_id"]
        assert {name: shown[name] for name in AnswerView.model_fields if name != "request_id"} == {
            name: whole[name] for name in AnswerView.model_fields if name != "request_id"
        }
    for shown in (found, searched):
        assert set(SearchView.model_fields) <= set(shown)
