"""A real nginx in front, as people have it: it buffers what it proxies, and compresses whatever it can."""

from __future__ import annotations

import sys
import time

import httpx
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.stack import PATIENCE, texts

if sys.platform != "linux":
    pytest.skip("nginx comes in a wheel for Linux only", allow_module_level=True)

from support.nginx import start_nginx
from support.redis_server import start_redis

BODY = {"message": "Who built the lighthouse of Ostrava Bay?"}
WORDS = " ".join(f"word{n}" for n in range(12))
ONE = "proxy_http_version 1.0;"
versions = pytest.mark.parametrize("location", ["", ONE, "proxy_http_version 1.1;"], ids=["default", "1.0", "1.1"])


@pytest.fixture(scope="module")
def server(stack):
    with stack.serve(streams={"grace": 0.3}, server={"ping_interval": 0.3}) as client:
        yield client


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh()


def read_until(pieces, mark, *, seen=""):
    while mark not in seen:
        seen += next(pieces)
    return seen


@versions
def test_sources_arrive_while_the_model_is_silent_and_tokens_while_it_writes(stack, server, location):
    stack.fresh(Reply(fault="hang-first"), Reply("one two three four", fault="hang-between"))
    with start_nginx([server.served.port], location=location) as nginx:
        for mark in ('"source":"lighthouse.md"', '{"token": "three"}'):
            with httpx.stream("POST", f"{nginx.url}/chat/stream", json=BODY, timeout=PATIENCE) as response:
                # the model says nothing more: what does not arrive now never does
                seen = read_until(response.iter_text(), mark.replace('"three"', '" three"'))
            assert response.headers["content-encoding"] == "gzip"
            assert response.headers["x-stream-id"]
            assert "event: done" not in seen


@versions
def test_tokens_arrive_one_by_one_and_nothing_is_lost_on_the_way(stack, server, location):
    stack.fresh(Reply(WORDS, delay=0.1))
    with start_nginx([server.served.port], location=location) as nginx:
        with httpx.stream("POST", f"{nginx.url}/chat/stream", json=BODY, timeout=PATIENCE) as response:
            pieces = [piece for piece in response.iter_text() if "event: token" in piece]
        events = parse(server.get(f"/streams/{response.headers['x-stream-id']}").text)
    assert len(pieces) > 4  # a busy machine may put some together
    assert ending(events).name == "done"
    assert texts(events) == WORDS
    assert parse("".join(pieces))[0].name in {"sources", "token"}


def test_what_arrives_through_the_proxy_is_what_was_sent(stack, server):
    stack.fresh(Reply(WORDS))
    with start_nginx([server.served.port]) as nginx:
        response = httpx.post(f"{nginx.url}/chat/stream", json=BODY, timeout=PATIENCE)
        direct = server.get(f"/streams/{response.headers['x-stream-id']}").text
        whole = httpx.post(f"{nginx.url}/chat", json=BODY, timeout=PATIENCE)
    assert parse(response.text) == parse(direct)
    assert whole.headers["content-encoding"] == "gzip"
    assert whole.json()["conversation_id"]


@pytest.mark.parametrize(("ping_interval", "end"), [(0.3, "done"), (30, None)])
def test_pings_keep_a_silent_stream_alive_for_longer_than_the_proxy_waits(stack, ping_interval, end):
    stack.fresh(Reply("one", delay=1.8))
    with (
        stack.serve(server={"ping_interval": ping_interval}) as server,
        start_nginx([server.served.port], location="proxy_read_timeout 1s;") as nginx,
    ):
        seen = ""
        try:
            with httpx.stream("POST", f"{nginx.url}/chat/stream", json=BODY, timeout=PATIENCE) as response:
                for piece in response.iter_text():
                    seen += piece
        except httpx.RemoteProtocolError:
            assert end is None
    assert (": ping" in seen) is (end == "done")
    if end:
        assert ending(parse(seen)).name == end
    else:
        assert "event: done" not in seen  # it is the pings that do it


@versions
def test_a_client_that_leaves_is_noticed_through_the_proxy(stack, server, location):
    stack.fresh(Reply("one two three", fault="hang-between"))
    with start_nginx([server.served.port], location=location) as nginx:
        with httpx.stream("POST", f"{nginx.url}/chat/stream", json=BODY, timeout=PATIENCE) as response:
            seen = read_until(response.iter_text(), "event: token")
        assert stack.model.wait_for_disconnects(1, timeout=3)
    kept = server.settled(parse(seen)[0].data["conversation_id"])
    assert [message["state"] for message in kept] == ["abandoned", "abandoned"]


def test_a_plain_request_whose_client_leaves_is_noticed_through_the_proxy(stack, server):
    stack.fresh(Reply(fault="hang-first"))
    with start_nginx([server.served.port]) as nginx:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{nginx.url}/chat", json=BODY, timeout=0.7)
        assert stack.model.wait_for_disconnects(1, timeout=3)


def test_a_dropped_stream_is_taken_up_again_through_the_proxy(stack):
    stack.fresh(Reply(WORDS, delay=0.05))
    with stack.serve() as server, start_nginx([server.served.port]) as nginx:
        with httpx.stream("POST", f"{nginx.url}/chat/stream", json=BODY, timeout=PATIENCE) as response:
            seen = read_until(response.iter_text(), "word2")
        seen = seen[: seen.rindex("\n\n") + 2]
        stream = f"{nginx.url}/streams/{response.headers['x-stream-id']}"
        rest = httpx.get(stream, headers={"Last-Event-ID": parse(seen)[-1].id or "0"}, timeout=PATIENCE)
    events = parse(seen + rest.text)
    assert ending(events).name == "done"
    assert texts(events) == WORDS
    assert [int(event.id) for event in events[:-1]] == list(range(1, 15))
    assert len(stack.model.requests) == 1


def test_a_dropped_stream_is_taken_up_on_the_other_replica(stack):
    stack.fresh(Reply(WORDS, delay=0.15))
    with start_redis() as redis:
        shared = {"redis": {"url": redis.url}, "streams": {"grace": 10}}
        with (
            stack.serve(**shared) as one,
            stack.serve(**shared) as two,
            start_nginx([one.served.port, two.served.port], location="add_header X-Upstream $upstream_addr;") as nginx,
            httpx.Client(base_url=nginx.url, timeout=PATIENCE) as http,
        ):
            with http.stream("POST", "/chat/stream", json=BODY) as response:
                seen = read_until(response.iter_text(), "word1")
            seen = seen[: seen.rindex("\n\n") + 2]
            path, last = f"/streams/{response.headers['x-stream-id']}", parse(seen)[-1].id
            running = http.get(path, headers={"Last-Event-ID": last})
            ended = [http.get(path) for _ in range(2)]
            messages = [http.get(f"/conversations/{parse(seen)[0].data['conversation_id']}").json() for _ in range(2)]
    assert running.headers["x-upstream"] != response.headers["x-upstream"]
    assert {each.headers["x-upstream"] for each in ended} == {
        running.headers["x-upstream"],
        response.headers["x-upstream"],
    }
    events = parse(seen + running.text)
    assert ending(events).name == "done"
    assert texts(events) == WORDS
    assert [int(event.id) for event in events[:-1]] == list(range(1, 15))
    assert parse(ended[0].text) == parse(ended[1].text) == events
    assert messages[0] == messages[1]
    assert len(messages[0]["messages"]) == 2
    assert len(stack.model.requests) == 1


def test_fifty_streams_at_once_pass_the_proxy_whole(stack, server):
    stack.fresh(default=Reply(WORDS, delay=0.02))
    limits = httpx.Limits(max_connections=60)
    with (
        start_nginx([server.served.port]) as nginx,
        httpx.Client(base_url=nginx.url, timeout=PATIENCE, limits=limits) as http,
    ):
        streams = [
            http.send(http.build_request("POST", "/query/stream", json={"question": BODY["message"]}), stream=True)
            for _ in range(50)
        ]
        read = [parse(stream.read().decode()) for stream in streams]
    assert {texts(events) for events in read} == {WORDS}
    assert {ending(events).name for events in read} == {"done"}


def test_a_server_that_stops_says_so_through_the_proxy(stack):
    stack.fresh(Reply("one two three", fault="hang-between"))
    with (
        stack.serve(server={"shutdown_timeout": 1.0}) as server,
        start_nginx([server.served.port]) as nginx,
        httpx.stream("POST", f"{nginx.url}/chat/stream", json=BODY, timeout=PATIENCE) as response,
    ):
        pieces = response.iter_text()
        seen = read_until(pieces, "event: token")
        server.served.stop()
        begun = time.monotonic()
        last = ending(parse(seen + "".join(pieces)))
    assert last.data["type"] == "/problems/overloaded"
    assert time.monotonic() - begun < PATIENCE


PAGE = {"Host": "footnote.example", "Origin": "https://footnote.example"}


@pytest.mark.parametrize(
    ("settings", "location", "status"),
    [
        ({"allowed_hosts": "footnote.example"}, "", 200),
        ({}, "", 421),  # it listens on loopback, where another name may be that of somebody else's page
        # nginx's own default: the server never sees the name that the page has, but a setting can tell it
        ({"allowed_hosts": "footnote"}, "proxy_set_header Host $proxy_host;", 403),
        (
            {"allowed_hosts": "footnote", "cors_origins": "https://footnote.example"},
            "proxy_set_header Host $proxy_host;",
            200,
        ),
    ],
)
def test_behind_a_proxy_with_a_name_of_its_own_pages_of_that_name_are_let_in(stack, settings, location, status):
    with stack.serve(server=settings) as server, start_nginx([server.served.port], location=location) as nginx:
        page = httpx.post(f"{nginx.url}/retrieve", json={"question": BODY["message"]}, headers=PAGE, timeout=PATIENCE)
        other = httpx.get(f"{nginx.url}/health", headers={**PAGE, "Origin": "https://evil.example"})
    assert page.status_code == status, page.text
    assert other.status_code in {403, 421}
