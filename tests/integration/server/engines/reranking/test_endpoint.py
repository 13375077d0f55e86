"""Reranking by an endpoint over real HTTP: what is sent, and what is believed of what comes back."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket

import pytest
from support.rerank_server import Reply, start_rerank_server

from config.settings import RerankSettings, SettingsError
from server.engines.models.errors import ModelError
from server.engines.reranking.endpoint import MAX_BYTES, EndpointRerank, address_of
from server.engines.reranking.troubles import trouble_of

PASSAGES = ["Stones are heavy.", "Bread is bread.", "Some bread."]
KEY = "secret-key"


@pytest.fixture
def server():
    with start_rerank_server() as running:
        yield running


def settings(url, provider="cohere", **values):
    return RerankSettings(provider=provider, url=url, api_key=KEY, **values)


async def scores(url, **values):
    source = EndpointRerank(settings(url, **values))
    try:
        return await source.scores("Which bread?", PASSAGES)
    finally:
        await source.close()


async def trouble(url, **values):
    with pytest.raises(ModelError) as caught:
        await scores(url, **values)
    assert KEY not in str(caught.value) + caught.value.detail
    return trouble_of(caught.value)


@pytest.mark.parametrize(
    ("provider", "path", "extra"), [("cohere", "/v2/rerank", {}), ("jina", "/v1/rerank", {"return_documents": False})]
)
async def test_each_protocol_is_spoken_as_its_provider_wants(server, provider, path, extra):
    assert await scores(server.url, provider=provider, model="m-1") == [0.0, 0.2, 0.1]
    (asked,) = server.requests
    assert asked.path == path
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {"model": "m-1", "query": "Which bread?", "documents": PASSAGES, "top_n": 3, **extra}


async def test_passages_that_the_server_leaves_out_have_no_score(server):
    server.reply = Reply(results=[{"index": 2, "relevance_score": 1}])
    assert await scores(server.url) == [None, None, 1.0]


RIGHT = {"index": 0, "relevance_score": 0.5}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(results=[{"index": 3, "relevance_score": 0.5}]),
        Reply(results=[{"index": -1, "relevance_score": 0.5}]),
        Reply(results=[{"index": True, "relevance_score": 0.5}]),
        Reply(results=[{"index": "0", "relevance_score": 0.5}]),
        Reply(results=[{"index": 0.0, "relevance_score": 0.5}]),
        Reply(results=[RIGHT, RIGHT]),
        Reply(results=[{"index": 0, "relevance_score": "0.5"}]),
        Reply(results=[{"index": 0, "relevance_score": None}]),
        Reply(results=[{"index": 0}]),
        Reply(results=[0, 1]),
        Reply(results={"index": 0}),
        Reply(results=17),
        Reply(body=b'{"results": [{"index": 0, "relevance_score": NaN}]}'),
        Reply(body=b'{"results": [{"index": 0, "relevance_score": 1e999}]}'),
        Reply(body=b"[]"),
        Reply(body=b'{"error": "overloaded"}'),
        Reply(body=b"<html>Welcome to nginx</html>", headers={"Content-Type": "text/html"}),
        Reply(body=b""),
        Reply(body=b"\xff\xfe\x00"),
        Reply(body=b"[" * 200_000),
        Reply(body=b" " * (MAX_BYTES + 1)),
        Reply(
            body=gzip.compress(b" " * 50_000_000),  # fifty kilobytes, as they come
            headers={"Content-Encoding": "gzip"},
        ),
    ],
)
async def test_an_answer_that_is_no_order_of_the_passages_is_nonsense(server, reply):
    server.reply = reply
    assert await trouble(server.url) == "nonsense"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, "failed"), (503, "failed"), (429, "rate-limited"), (401, "rejected"), (404, "rejected"), (204, "rejected")],
)
async def test_a_refusal_is_told_by_its_status(server, status, reason):
    server.reply = Reply(status=status, body=b'{"message": "secret-key is wrong"}')
    assert await trouble(server.url) == reason


async def test_a_redirect_is_not_followed_so_that_nobody_else_gets_the_key(server):
    with start_rerank_server() as elsewhere:
        server.reply = Reply(status=307, body=b"", headers={"Location": f"{elsewhere.url}/v2/rerank"})
        assert await trouble(server.url) == "rejected"
        assert not elsewhere.requests


async def test_one_that_cannot_be_reached_is_unavailable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert await trouble(f"http://127.0.0.1:{free.getsockname()[1]}") == "unavailable"


async def test_silence_ends_with_the_time_that_is_set(server):
    server.reply = Reply(delay=2)
    assert await trouble(server.url, timeout=0.2) == "unavailable"


async def test_questions_go_side_by_side(server):
    source = EndpointRerank(settings(server.url, timeout=30))
    server.reply = Reply(delay=0.3)
    answers = await asyncio.gather(*(source.scores("q", PASSAGES) for _ in range(8)))
    await source.close()
    assert answers == [[0.0, 0.2, 0.1]] * 8
    assert server.max_at_once > 1


async def test_no_word_of_a_passage_is_changed_on_the_way(server):
    passages = ["Łódź — «żółć» 🥖 {query} \\n \x00", "bread"]
    source = EndpointRerank(settings(server.url))
    await source.scores("что?", passages)
    await source.close()
    assert server.requests[0].body["documents"] == passages
    assert server.requests[0].body["query"] == "что?"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://host:8000", "http://host:8000/v2/rerank"),
        ("http://host:8000/", "http://host:8000/v2/rerank"),
        ("http://host/v1", "http://host/v1/rerank"),
        ("http://host/api/rerank", "http://host/api/rerank"),
        (None, "https://api.cohere.com/v2/rerank"),
    ],
)
def test_an_address_may_end_before_or_behind_the_version(url, asked):
    assert address_of(settings(url)) == asked


@pytest.mark.parametrize("url", ["ftp://host", "host:8000", "http://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused_at_the_start(url):
    with pytest.raises(SettingsError, match="FOOTNOTE_RERANK__URL"):
        EndpointRerank(settings(url))


def test_the_provider_s_own_address_needs_a_key():
    with pytest.raises(SettingsError, match="FOOTNOTE_RERANK__API_KEY"):
        EndpointRerank(RerankSettings(provider="jina"))


def test_the_key_is_in_no_representation():
    assert KEY not in json.dumps(settings("http://host").model_dump(mode="json")) + repr(settings("http://host"))
