"""What people wrote is in nothing that leaves the server, unless its operator lets it in."""

from __future__ import annotations

import asyncio
import signal
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context

import httpx
import pytest
from support.indexed import index
from support.model_server import Reply
from support.otlp import start_receiver
from support.stack import PATIENCE

from config.settings import DatabaseSettings
from config.telemetry.setup import CONTENT_BYTES
from storage.database import Database

SECRET = "marzipan"
"""Stands in everything that a client, a document, a model or a header says here, and nowhere else."""


@pytest.fixture(scope="module", autouse=True)
def _secret_collection(stack):
    """Make a collection whose documents are secrets, with names to match."""

    async def make():
        database = await Database.open(stack.dsn, settings=DatabaseSettings())
        texts = {f"{SECRET}-{n}.md": f"The {SECRET} recipe number {n} needs almonds." for n in range(3)}
        metadata = {source: {f"{SECRET}_key": f"{SECRET}-value"} for source in texts}
        await index(database, stack.embedder, texts, "kitchen", metadata=metadata)
        await database.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, asyncio.run, make()).result()


@contextmanager
def telling_server(stack, **env):
    """Serve; yields a client and a function that stops the server and returns all it exported and logged."""
    with start_receiver() as receiver:
        to = {"TELEMETRY__ENDPOINT": receiver.http_url, "LLM__MAX_RETRIES": "0", "LLM__BREAKER_FAILURES": "0", **env}
        with (
            stack.process(program=("-m", "server"), **to) as process,
            httpx.Client(base_url=process.url, timeout=PATIENCE) as http,
        ):

            def told():
                metrics = http.get("/metrics").text
                process.signal(signal.SIGTERM)
                code, log = process.ended()
                assert code == 0
                assert len(receiver.spans()) > 5
                assert '"route": "/query"' in log
                return {"exported": receiver.text, "metrics": metrics, "log": log, "bytes": b"".join(receiver.raw)}

            yield http, told


def everything(http, stack):
    """Say the secret wherever something can be said; return the answers."""
    headers = {"User-Agent": SECRET, "Referer": SECRET, "baggage": f"user={SECRET}", "tracestate": f"{SECRET}=1"}
    headers["traceparent"] = (
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # without it, the rest is not read
    )
    headers |= {"Cookie": SECRET, "Authorization": f"Bearer {SECRET}", "X-Forwarded-For": SECRET}
    ask = {"collection": "kitchen", "min_score": 0}
    question = f"What is in the {SECRET} recipe?"
    filters = {"filters": [{"key": f"{SECRET}_key", "value": f"{SECRET}-value", "operator": "=="}]}

    def post(path, body, **options):
        return http.post(path, json=body, headers=headers, **options)

    first = post("/query", {"question": question, "filters": filters, **ask})
    yield first
    yield post("/query/stream", {"question": question, **ask})
    yield post("/retrieve", {"question": question, "document_ids": [SECRET], **ask})
    chat = post("/chat", {"message": question, **ask})
    yield chat
    conversation = chat.json()["conversation_id"]
    yield post("/chat/stream", {"message": f"And without {SECRET}?", "conversation_id": conversation})
    yield http.patch(f"/conversations/{conversation}", json={"title": SECRET}, headers=headers)
    yield http.get(f"/conversations/{conversation}")
    keyed = {"Idempotency-Key": SECRET}
    yield http.post("/query", json={"question": question, **ask}, headers=keyed)
    yield http.post("/query", json={"question": question, **ask}, headers=keyed)
    messages = [{"role": "system", "content": SECRET}, {"role": "user", "content": question}]
    yield post("/v1/chat/completions", {"model": "footnote/kitchen", "messages": messages, "user": SECRET})
    yield post("/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": [SECRET]})
    feedback = {"trace_id": first.json()["trace_id"], "rating": "down", "comment": SECRET, "question": SECRET}
    yield post("/feedback", feedback)
    call = {"name": "ask", "arguments": {"question": question, "collection": "kitchen"}}
    yield http.post(
        "/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
        headers={"Accept": "application/json, text/event-stream"},
    )
    yield from mcp_calls(http)
    # what is refused
    yield post("/query", {"question": question, "collection": SECRET})
    yield post("/query", {"question": question, "mode": SECRET})
    yield post("/query", {"question": [SECRET]})
    yield post("/query", {SECRET: SECRET})
    yield http.post("/query", content=f'{{"question": "{SECRET}', headers={"Content-Type": "application/json"})
    yield http.get(f"/{SECRET}?{SECRET}={SECRET}", headers=headers)
    yield http.get(f"/{SECRET}?{SECRET}={SECRET}", headers={**headers, "Host": f"{SECRET}.example"})
    yield http.get("/collections", headers={**headers, "Origin": f"https://{SECRET}.example"})
    yield http.get(f"/documents/{SECRET}")
    yield http.get("/documents", params={"collection": "kitchen", "cursor": SECRET})
    yield http.get(f"/conversations/{SECRET}")
    yield http.request(SECRET.upper(), "/query", headers=headers)
    for fault in ("context-length", "server-error", "garbage", "cut", "filtered", "unauthorized"):
        stack.model.script(Reply(f"{SECRET} " * 5, fault=fault))
        yield post("/query", {"question": question, **ask})


def mcp_calls(http):
    """Say the secret in all parts of MCP's protocol."""
    initialize = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": SECRET, "version": SECRET},
    }
    meta = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01", "tracestate": f"{SECRET}=1"}
    for method, params in (
        ("initialize", initialize),
        ("tools/call", {"name": SECRET, "arguments": {SECRET: SECRET}, "_meta": meta}),
        ("tools/call", {"name": "get_document", "arguments": {"document_id": SECRET}, "_meta": meta}),
        ("resources/read", {"uri": f"footnote://{SECRET}"}),
        (f"prompts/{SECRET}", {"name": SECRET}),
    ):
        yield http.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": SECRET, "method": method, "params": params},
            headers={"Accept": "application/json, text/event-stream"},
        )


def test_a_secret_is_in_no_span_no_metric_and_no_line_of_the_log(stack):
    stack.fresh(default=Reply(f"The {SECRET} recipe needs almonds [1]."))
    with telling_server(stack) as (http, told):
        answers = list(everything(http, stack))
        assert sum(answer.status_code == 200 for answer in answers) >= 11
        assert sum(answer.status_code >= 500 for answer in answers) >= 5
        assert SECRET in answers[0].text
        for where, text in told().items():
            if isinstance(text, bytes):
                continue
            begin = text.lower().find(SECRET)
            assert begin < 0, f"{where}: …{text[max(0, begin - 300) : begin + 60]}…"


def test_content_that_is_let_in_is_there_and_bounded(stack):
    stack.fresh(default=Reply(f"The {SECRET} recipe needs almonds [1]."))
    most = CONTENT_BYTES // len(f"{SECRET}?")
    with telling_server(stack, TELEMETRY__CONTENT="full") as (http, told):
        http.post("/query", json={"question": f"{SECRET}?" * (most + 400), "collection": "kitchen", "min_score": 0})
        exported = told()["exported"]
    assert SECRET in exported
    assert f"{SECRET}?" * (most + 1) not in exported


def test_redacted_content_is_without_addresses_keys_and_numbers(stack):
    personal = ["ada@example.org", "sk-abcdef0123456789", "+420 601 234 567", "4111 1111 1111 1111"]
    stack.fresh(default=Reply(f"Write to {personal[0]} [1]."))
    with telling_server(stack, TELEMETRY__CONTENT="redacted") as (http, told):
        question = f"Who is {', '.join(personal)} of the {SECRET} kitchen?"
        http.post("/query", json={"question": question, "collection": "kitchen", "min_score": 0})
        exported = told()["exported"]
    assert SECRET in exported
    assert "[redacted]" in exported
    for each in personal:
        assert each not in exported


def test_a_question_is_never_in_a_trace_as_numbers_either(stack):
    """An embedding can be turned back into much of its text, so none is told, whatever the settings let in."""
    stack.fresh()
    with telling_server(stack, TELEMETRY__CONTENT="full") as (http, told):
        body = {"model": "all-MiniLM-L6-v2", "input": "Who built the lighthouse?"}
        vector = http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
        http.post("/query", json={"question": "Who built the lighthouse?", "min_score": 0})
        exported = told()["bytes"]
    assert b"Who built the lighthouse?" in exported
    for number in vector[:20]:
        assert struct.pack("<d", number) not in exported
        assert str(number)[:8].encode() not in exported
