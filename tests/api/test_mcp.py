"""MCP over HTTP: the SDK's own client and raw requests, a real server, a scripted runtime under it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from support.scripted import DONE, SOURCES, Connect, Hang, Logged, Make, Serve

from server.answers import Token
from server.mcp.addresses import DocumentAddress, NoSuchAddress, parse_address
from storage.errors import StoreUnavailable

ERAS = pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
URI = "footnote://default/documents/doc-1"


def call(name: str, arguments: dict[str, Any], *, number: int = 7) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def post(url: str, message: object, **headers: str) -> httpx.Response:
    return httpx.post(url + "/mcp", json=message, headers=HEADERS | headers, timeout=20)


def reply(response: httpx.Response) -> dict[str, Any]:
    """Read the one message of an answer, in whichever form it came."""
    if response.headers["content-type"].startswith("application/json"):
        return response.json()
    (data,) = [line for line in response.text.splitlines() if line.startswith("data: ")]
    return json.loads(data.removeprefix("data: "))


def calls(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["call"], line["outcome"]) for line in lines if line["event"] == "mcp call"]


async def eventually(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_a_client_learns_what_there_is_and_how_to_cite(scripted: Make, serve: Serve, era: str) -> None:
    with serve(scripted().app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            templates = (await client.list_resource_templates()).resource_templates
            instructions = client.instructions or ""
    assert set(tools) == {"search", "ask", "list_collections", "get_document"}
    for tool in tools.values():
        assert tool.title
        assert tool.description
        assert tool.output_schema
        assert tool.annotations
        assert tool.annotations.read_only_hint
        assert "$ref" not in json.dumps(tool.input_schema)  # what many language models cannot read
    assert tools["search"].input_schema["properties"]["question"]["maxLength"] == 8000
    assert tools["search"].input_schema["properties"]["k"]["maximum"] == 100
    assert tools["search"].input_schema["required"] == ["question"]
    assert "Cite" in instructions
    assert [template.uri_template for template in templates] == [
        "footnote://{collection}/documents/{document_id}{?offset}"
    ]


@ERAS
async def test_search_gives_passages_as_data_and_as_text(scripted: Make, serve: Serve, era: str) -> None:
    made = scripted()
    arguments = {
        "question": " port? ",
        "k": 3,
        "mode": "keyword",
        "document_ids": ["doc-1"],
        "filters": {"filters": [{"key": "lang", "value": "en"}]},
    }
    with serve(made.app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            result = await client.call_tool("search", arguments)  # which validates the output against the schema
    passage = result.structured_content["results"][0]
    assert (passage["id"], passage["source"], passage["page"]) == (1, "docs/configuration.md", None)
    assert passage["uri"] == URI
    assert result.content[0].text.startswith("[1] Configuration · Server > Port · docs/configuration.md <footnote://")
    assert passage["text"] in result.content[0].text
    (question,) = made.answers.questions
    assert (question.question, question.k, question.mode) == ("port?", 3, "keyword")
    assert question.document_ids == ("doc-1",)
    assert question.filters is not None


@ERAS
async def test_ask_gives_a_cited_answer_and_tells_how_far_it_is(scripted: Make, serve: Serve, era: str) -> None:
    told: list[tuple[float, str | None]] = []

    async def progress(done: float, _total: float | None, message: str | None) -> None:
        told.append((done, message))

    script = (SOURCES, Token("Set "), 0.6, Token("the port [1]."), 0.1, DONE)
    with serve(scripted(script).app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            result = await client.call_tool("ask", {"question": "port?"}, progress_callback=progress)
            await eventually(lambda: len(told) == 3)
    answer = result.structured_content
    assert (answer["answer"], answer["finish_reason"], answer["model"]) == ("Set the port [1].", "stop", "scripted")
    assert answer["citations"][0]["cited"]
    assert result.content[0].text == (
        f"Set the port [1].\n\n[1] Configuration · Server > Port · docs/configuration.md <{URI}>"
    )
    assert told == [(1, "passages found: 1"), (2, "characters written: 4"), (3, "characters written: 17")]


async def test_a_client_that_asked_for_no_progress_gets_none(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        response = post(server.url, call("ask", {"question": "port?"}))
    assert "notifications/progress" not in response.text
    assert reply(response)["result"]["structuredContent"]["answer"] == "Set the port [1]."


async def test_collections_can_be_listed(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        async with Client(server.url + "/mcp") as client:
            result = await client.call_tool("list_collections", {})
    assert result.structured_content["collections"][0]["name"] == "default"
    assert result.structured_content["next_cursor"] is None
    assert result.content[0].text == "default: 3 documents, 30 passages, english"


async def test_a_document_is_read_in_parts_that_make_the_whole(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        async with Client(server.url + "/mcp") as client:
            text, offset = "", 0
            while offset is not None:
                arguments = {"document_id": "doc-2", "offset": offset, "max_characters": 100_000}
                part = (await client.call_tool("get_document", arguments)).structured_content
                text, offset = text + part["text"], part["next_offset"]
            small = await client.call_tool("get_document", {"document_id": "doc-2", "max_characters": 11})
            behind = await client.call_tool("get_document", {"document_id": "doc-2", "offset": 10**9})
    assert len(text) == part["total_characters"] == 300_000
    assert text.startswith("The text of Page 2.")
    assert small.structured_content["metadata"] == {"n": 2}
    assert small.content[0].text.endswith("; the next part begins at offset 11\n\nThe text of")
    assert (behind.structured_content["text"], behind.structured_content["next_offset"]) == ("", None)


async def test_documents_are_resources_listed_and_read_in_parts(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mcp.resources.PAGE", 2)
    found, text, uri = [], "", URI
    with serve(scripted().app) as server:
        async with Client(server.url + "/mcp") as client:
            page = await client.list_resources()
            found += page.resources
            page = await client.list_resources(cursor=page.next_cursor)
            found += page.resources
            while uri:
                contents = (await client.read_resource(uri)).contents
                text += contents[0].text
                uri = contents[1].uri if len(contents) > 1 else ""
    assert page.next_cursor is None
    assert [(item.uri[-5:], item.name) for item in found] == [(f"doc-{n}", f"docs/{n}.md") for n in (1, 2, 3)]
    assert len(text) == 300_000


@pytest.mark.parametrize(
    "document_id", ["a/b c", "..", ".", "../../etc/passwd", "ünï%2F?#", "x" * 512, "%", "\u202e\n"]
)
def test_an_address_takes_any_id_there_and_back(document_id: str) -> None:
    uri = str(DocumentAddress("default", document_id, offset=5))
    assert parse_address(uri) == DocumentAddress("default", document_id, offset=5)
    assert uri.isascii()
    assert uri.count("/") == 4
    assert not {".", ".."} & set(uri.partition("?")[0].split("/"))


@pytest.mark.parametrize(
    "uri",
    [
        "footnote://default/documents/../../../etc/passwd",
        "footnote://default/documents/",
        "footnote://default/documents/a%00b",
        "footnote://default/documents/%ff",
        "footnote://default/documents/" + "x" * 513,
        "footnote://default/documents/" + "x" * 100_000,
        "footnote://default/documents/doc-1?offset=-1",
        "footnote://default/documents/doc-1#x",
        "footnote://NOT A NAME/documents/doc-1",
        "footnote://user@default/documents/doc-1",
        "file:///etc/passwd",
        "",
    ],
)
def test_what_is_no_document_s_address_is_refused(uri: str) -> None:
    with pytest.raises(NoSuchAddress):
        parse_address(uri)


@pytest.mark.parametrize(("era", "code"), [("legacy", -32002), ("2026-07-28", -32602)])
@pytest.mark.parametrize("uri", ["file:///etc/passwd", "footnote://default/documents/nope", URI.replace("lt", "lt2")])
async def test_a_resource_that_is_not_there_is_an_error_of_the_protocol(
    scripted: Make, serve: Serve, uri: str, era: str, code: int
) -> None:
    with serve(scripted().app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            with pytest.raises(MCPError, match="there is no") as caught:
                await client.read_resource(uri)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "cursor",
    ["x", "!!!", "bnVsbA==", "W251bGwsMV0=", "W10=", "x" * 20_000, "WyIAIiwgbnVsbF0=", "WyLDvyIsICIAIl0="],
)
async def test_a_made_up_cursor_is_invalid(scripted: Make, serve: Serve, cursor: str) -> None:
    with serve(scripted().app) as server:
        async with Client(server.url + "/mcp", mode="legacy") as client:
            with pytest.raises(MCPError, match="cursor") as caught:
                await client.list_resources(cursor=cursor)
            with pytest.raises(MCPError, match="cursor"):
                await client.list_tools(cursor=cursor)
    assert caught.value.code == -32602


HOSTILE = [
    ("search", {}, "question: is required"),
    ("search", {"question": ""}, "question: must not be empty"),
    ("search", {"question": " \n"}, "question: must not be empty"),
    ("search", {"question": "a\0b"}, "question: must not contain a NUL"),
    ("search", {"question": "x" * 8001}, "question: must have at most 8000"),
    ("search", {"question": 7}, "question: must be a string"),
    ("search", {"question": "q", "k": 0}, "k: "),
    ("search", {"question": "q", "k": 101}, "k: "),
    ("search", {"question": "q", "k": "8"}, "k: must be a whole number"),
    ("search", {"question": "q", "k": True}, "k: must be a whole number"),
    ("search", {"question": "q", "collection": "../x"}, "collection: "),
    ("search", {"question": "q", "mode": "'; DROP TABLE"}, "mode: "),
    ("search", {"question": "q", "document_ids": ["x" * 513]}, "document_ids.0: "),
    ("search", {"question": "q", "document_ids": ["x"] * 1001}, "document_ids: "),
    ("search", {"question": "q", "filters": {"filters": [{"key": "a", "operator": "like"}]}}, "filters.filters.0."),
    ("search", {"question": "q", "stream": True}, "stream: is no argument of this tool"),
    ("search", {"question": "q", "temperature": 1}, "temperature: is no argument of this tool"),
    ("ask", {"question": "q", "temperature": 3}, "temperature: "),
    ("ask", {"question": "q", "__proto__": 1}, "__proto__: is no argument of this tool"),
    ("list_collections", {"limit": 0}, "limit: "),
    ("list_collections", {"cursor": "!"}, "the cursor is not one that Footnote gave"),
    ("get_document", {}, "document_id: is required"),
    ("get_document", {"document_id": ""}, "document_id: "),
    ("get_document", {"document_id": "a\0"}, "document_id: must not contain a NUL"),
    ("get_document", {"document_id": "nope"}, "there is no document 'nope'"),
    ("get_document", {"document_id": "doc-1", "collection": "other"}, "there is no document 'doc-1'"),
    ("get_document", {"document_id": "doc-1", "offset": -1}, "offset: "),
    ("get_document", {"document_id": "doc-1", "offset": 10**30}, "offset: "),
    ("get_document", {"document_id": "doc-1", "max_characters": 100_001}, "max_characters: "),
]


@ERAS
async def test_wrong_arguments_are_told_in_words_that_a_model_can_act_on(
    scripted: Make, serve: Serve, logged: Logged, era: str
) -> None:
    made = scripted()
    with serve(made.app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            for name, arguments, words in HOSTILE:
                result = await client.call_tool(name, arguments)
                assert result.is_error, (name, arguments)
                assert words in result.content[0].text, (name, arguments, result.content[0].text)
                assert len(result.content[0].text) <= 1000
                assert result.structured_content is None
    assert made.answers.questions == []
    assert not any("exception" in line for line in logged())


def test_half_a_surrogate_pair_is_refused_in_either_era(scripted: Make, serve: Serve) -> None:
    made = scripted()
    body = json.dumps(call("search", {"question": "a\ud800b"})).encode()
    modern = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "search"}
    with serve(made.app) as server:
        for headers in ({}, modern):
            response = httpx.post(server.url + "/mcp", content=body, headers=HEADERS | headers)
            assert response.status_code == 400, response.text
    assert made.answers.questions == []


@ERAS
async def test_an_unknown_tool_is_an_error_of_the_protocol(scripted: Make, serve: Serve, era: str) -> None:
    with serve(scripted().app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            with pytest.raises(MCPError, match="there is no tool 'drop'; there are: search, ask") as caught:
                await client.call_tool("drop", {})
            with pytest.raises(MCPError) as long:
                await client.call_tool("x" * 100_000, {})
    assert caught.value.code == -32602
    assert len(str(long.value)) < 300


@ERAS
async def test_an_error_of_ours_says_what_happened_and_whether_to_try_again(
    scripted: Make, serve: Serve, logged: Logged, era: str
) -> None:
    with serve(scripted((StoreUnavailable("the database is not available"),)).app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            result = await client.call_tool("ask", {"question": "q"})
    assert result.is_error
    assert result.content[0].text == "the database is not available; the same call may succeed later"
    problem = result.meta["footnote/problem"]
    assert (problem["type"], problem["status"]) == ("/problems/store-unavailable", 503)
    assert ("ask", "store-unavailable") in calls(logged())


@ERAS
async def test_a_surprise_tells_the_client_the_request_s_id_alone_and_the_log_everything_once(
    scripted: Make, serve: Serve, logged: Logged, era: str
) -> None:
    with serve(scripted((SOURCES, ValueError("secret words of a document"))).app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            result = await client.call_tool("ask", {"question": "q"})
    request_id = result.meta["footnote/problem"]["request_id"]
    assert result.is_error
    assert result.content[0].text.startswith(f"the request {request_id} failed for a reason that only the server's log")
    assert "secret" not in str(result)
    told = [line for line in logged() if "exception" in line]
    assert [line["request_id"] for line in told] == [request_id]
    assert "secret" not in json.dumps(logged())


def test_a_call_has_the_request_s_own_id_in_its_answer_and_in_the_log(
    scripted: Make, serve: Serve, logged: Logged
) -> None:
    with serve(scripted((StoreUnavailable("gone"),)).app) as server:
        response = post(server.url, call("search", {"question": "q"}), **{"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert reply(response)["result"]["_meta"]["footnote/problem"]["request_id"] == "mine-1"
    lines = [line for line in logged() if line.get("request_id") == "mine-1"]
    assert calls(lines) == [("search", "store-unavailable")]
    access = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in access] == [("POST", "/mcp", 200)]


@ERAS
async def test_the_model_s_call_ends_when_the_client_leaves(
    scripted: Make, serve: Serve, logged: Logged, era: str
) -> None:
    made = scripted((SOURCES, Hang()))
    with serve(made.app) as server:
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(20), Client(server.url + "/mcp", mode=era) as client:
                asking = asyncio.create_task(client.call_tool("ask", {"question": "q"}))
                await asyncio.to_thread(made.answers.waiting.wait, 10)
                asking.cancel()
                await asking
        await eventually(made.answers.closed.is_set)
        await eventually(lambda: ("ask", "cancelled") in calls(logged()))
    assert not any("exception" in line for line in logged())


@pytest.mark.parametrize("version", [None, "2025-06-18"])
def test_a_dropped_connection_ends_the_call(scripted: Make, serve: Serve, logged: Logged, version: str | None) -> None:
    made = scripted((SOURCES, Hang()))
    headers = HEADERS | ({"mcp-protocol-version": version} if version else {})
    with serve(made.app) as server:
        with httpx.stream("POST", server.url + "/mcp", json=call("ask", {"question": "q"}), headers=headers):
            assert made.answers.waiting.wait(10)
        assert made.answers.closed.wait(5)
    assert [line["status"] for line in logged() if line["event"] == "request"] == [499]


def test_a_client_that_leaves_in_the_middle_of_its_message_is_no_failure(
    scripted: Make, serve: Serve, logged: Logged
) -> None:
    with serve(scripted().app) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            sock.sendall(
                b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Accept: application/json, text/event-stream\r\nContent-Length: 1000\r\n\r\n{"
            )
            time.sleep(0.2)
        time.sleep(0.2)
    assert [line["status"] for line in logged() if line["event"] == "request"] == [499]
    assert not any(line["level"] in {"warning", "error"} for line in logged())


@ERAS
async def test_a_call_has_the_time_of_a_request_and_is_told_when_it_is_over(
    scripted: Make, serve: Serve, era: str
) -> None:
    made = scripted((SOURCES, Hang()), request_timeout=0.5)
    with serve(made.app) as server:
        async with Client(server.url + "/mcp", mode=era) as client:
            result = await client.call_tool("ask", {"question": "q"})
    assert result.is_error
    assert result.content[0].text.startswith("the request took longer than 0.5 seconds")
    assert made.answers.closed.is_set()


@ERAS
async def test_a_stopping_server_tells_the_calls_that_have_not_ended(scripted: Make, serve: Serve, era: str) -> None:
    made = scripted((SOURCES, Hang()), shutdown_timeout=0.3)
    with serve(made.app, settings=made.runtime.settings.server) as server:
        with suppress(httpx.HTTPError, OSError, MCPError):
            async with Client(server.url + "/mcp", mode=era) as client:
                asking = asyncio.create_task(client.call_tool("ask", {"question": "q"}))
                await asyncio.to_thread(made.answers.waiting.wait, 10)
                server.stop()
                result = await asking
        assert result.is_error
        assert result.content[0].text.startswith("the server is shutting down; try again")


def test_more_calls_than_the_server_takes_are_refused(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Hang()), max_concurrency=1)
    with serve(made.app) as server:
        ask = call("ask", {"question": "q"})
        with httpx.stream("POST", server.url + "/mcp", json=ask, headers=HEADERS):
            assert made.answers.waiting.wait(10)
            response = post(server.url, ask)
        assert made.answers.closed.wait(5)
    assert response.status_code == 503
    assert response.json()["type"] == "/problems/overloaded"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD", "OPTIONS"])
def test_there_is_no_stream_to_hold_open_and_no_session_to_delete(scripted: Make, serve: Serve, method: str) -> None:
    with serve(scripted().app) as server:
        response = httpx.request(method, server.url + "/mcp", headers={"accept": "text/event-stream"}, timeout=5)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_a_body_that_is_too_large_is_refused(scripted: Make, serve: Serve) -> None:
    made = scripted(max_body_bytes=2000)
    with serve(made.app) as server:
        announced = post(server.url, call("search", {"question": "x" * 3000}))
        pieces = iter([b'{"jsonrpc": "2.0", "id": 1, "method": "', b"x" * 3000])
        chunked = httpx.post(server.url + "/mcp", content=pieces, headers=HEADERS)
    assert (announced.status_code, chunked.status_code) == (413, 413)
    assert announced.json()["type"] == chunked.json()["type"] == "/problems/too-large"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"x": ' + b'{"a":' * 5000 + b"}}",
        b'{"jsonrpc": "1.0", "id": 1, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": 1}',
        b'[{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]',
        b"\xff\xfe",
    ],
)
@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_what_is_no_message_is_refused_without_a_traceback(
    scripted: Make, serve: Serve, logged: Logged, body: bytes, version: str
) -> None:
    with serve(scripted().app) as server:
        response = httpx.post(server.url + "/mcp", content=body, headers=HEADERS | {"mcp-protocol-version": version})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["code"] in {-32700, -32600, -32602}
    assert "Traceback" not in response.text
    assert not any("exception" in line for line in logged())


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "no/such/method"},
        {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 5}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search", "arguments": [1]}},
        {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": 5}},
        {"jsonrpc": "2.0", "id": 1, "method": "x" * 50_000},
    ],
)
def test_a_message_that_makes_no_sense_is_an_error_of_the_protocol(
    scripted: Make, serve: Serve, message: dict[str, Any]
) -> None:
    with serve(scripted().app) as server:
        answer = reply(post(server.url, message))
    assert answer["id"] == 1
    assert answer["error"]["code"] in {-32601, -32602}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 400),
        ({"accept": "text/html"}, 406),
        ({"mcp-protocol-version": "1999-01-01"}, 400),
        ({"mcp-protocol-version": "2026-07-28' --"}, 400),
        ({"mcp-protocol-version": "x" * 5000}, 400),
    ],
)
def test_wrong_headers_are_refused(scripted: Make, serve: Serve, headers: dict[str, str], status: int) -> None:
    with serve(scripted().app) as server:
        response = post(server.url, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, **headers)
    assert response.status_code == status, response.text


def test_a_client_of_an_unknown_version_is_offered_one_that_is_known(scripted: Make, serve: Serve) -> None:
    hello = {"protocolVersion": "2099-01-01", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    with serve(scripted().app) as server:
        answer = reply(post(server.url, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}))
    assert answer["result"]["protocolVersion"] == "2025-11-25"
    assert answer["result"]["serverInfo"]["name"] == "footnote"


PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def test_it_serves_again_after_the_application_was_closed(scripted: Make, client: Connect) -> None:
    app = scripted().app
    for _ in range(2):
        async with client(app) as http:
            assert (await http.post("/mcp", json=PING, headers=HEADERS)).status_code == 200
