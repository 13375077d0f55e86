from __future__ import annotations

import json
import re
import socket
import time
from typing import Any

import httpx
import pytest
from support.scripted import Connect, Make, Serve

from server.api import listener

JSON = {"content-type": "application/json"}


def nested_filters(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"filters": [{"key": "a", "value": 1}]}
    for _ in range(depth - 1):
        node = {"filters": [node]}
    return node


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": " \n\t"}, "question"),
        ({"question": "x" * 8001}, "question"),
        ({"question": "a\0b"}, "question"),
        ({"question": 7}, "question"),
        ({"question": None}, "question"),
        ({"k": -1}, "k"),
        ({"k": 0}, "k"),
        ({"k": 101}, "k"),
        ({"k": True}, "k"),
        ({"k": 8.5}, "k"),
        ({"k": "8"}, "k"),
        ({"k": 10**400}, "k"),
        ({"collection": "../etc"}, "collection"),
        ({"collection": "a" * 64}, "collection"),
        ({"collection": "default\n"}, "collection"),
        ({"mode": "Robert'); DROP TABLE--"}, "mode"),
        ({"min_score": 1.5}, "min_score"),
        ({"min_score": "0.5"}, "min_score"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "true"}, "stream"),
        ({"rerank": 1}, "rerank"),
        ({"document_ids": ["a"] * 1001}, "document_ids"),
        ({"document_ids": ["a" * 513]}, "document_ids.0"),
        ({"document_ids": ["a\0"]}, "document_ids.0"),
        ({"document_ids": [1]}, "document_ids.0"),
        ({"document_ids": "a"}, "document_ids"),
        ({"qestion": "typo"}, "qestion"),
        ({"bool": 1}, "bool"),
        ({"filters": []}, "filters"),
        ({"filters": nested_filters(9)}, "filters"),
        ({"filters": {"filters": [nested_filters(1)["filters"][0]] * 201}}, "filters"),
        ({"filters": {"filters": [{"key": "a", "value": list(range(1001)), "operator": "in"}]}}, "filters"),
        ({"filters": {"filters": [{"key": "a", "value": {}}]}}, "filters.filters.0.value"),
        ({"filters": {"filters": [{"key": "a", "value": 1, "op": "=="}]}}, "filters.filters.0.op"),
        ({"filters": {"filters": [{"key": "a", "value": 1, "operator": "=~"}]}}, "filters.filters.0.operator"),
        ({"filters": {"filters": [{"filters": [{"key": 1}]}]}}, "filters.filters.0.filters.0.key"),
    ],
)
async def test_an_invalid_value_is_a_422_that_names_its_field_once(
    scripted: Make, client: Connect, change: dict[str, Any], field: str
) -> None:
    made = scripted()
    async with client(made.app) as http:
        response = await http.post("/query", content=json.dumps({"question": "q"} | change), headers=JSON)
    assert response.status_code == 422, response.text
    assert response.json()["type"] == "/problems/invalid-request"
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert made.answers.questions == []


async def test_the_limits_themselves_are_allowed(scripted: Make, client: Connect) -> None:
    body = {
        "question": "x" * 8000,
        "collection": "a" * 63,
        "k": 100.0,
        "filters": nested_filters(8),
        "document_ids": ["a" * 512] * 1000,
        "temperature": 2,
        "min_score": 1,
    }
    async with client(scripted().app) as http:
        assert (await http.post("/query", json=body)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"question": NaN}',
        b'{"question": "q", "min_score": Infinity}',
        b'{"question": "\\ud800"}',
        b'{"question": "\xff\xfe"}',
        b"{'question': 'q'}",
        b"[" * 100_000,
        b'{"filters":' * 80_000,
        b'{"question": "q", "k": ' + b"9" * 5000 + b"}",
        b'{"question": "q"} trailing',
        b'{"question": "q"',
        b"\xef\xbb\xbf{}",
    ],
)
async def test_what_is_no_json_is_a_400_that_says_where(scripted: Make, client: Connect, body: bytes) -> None:
    async with client(scripted().app) as http:
        response = await http.post("/query", content=body, headers=JSON)
    assert response.status_code == 400
    assert response.json()["type"] == "/problems/invalid-request"
    assert "line 1 column" in response.json()["errors"][0]["reason"]


@pytest.mark.parametrize("body", [b'{"question": "q", "k": 1e3}', b'{"question": "q", "temperature": 1e400}'])
async def test_numbers_in_the_wrong_notation_are_refused(scripted: Make, client: Connect, body: bytes) -> None:
    async with client(scripted().app) as http:
        assert (await http.post("/query", content=body, headers=JSON)).status_code == 422


@pytest.mark.parametrize(("body", "field"), [(b"", "body"), (b"[]", "body"), (b'"q"', "body"), (b"null", "body")])
async def test_a_body_that_is_no_object_is_refused(scripted: Make, client: Connect, body: bytes, field: str) -> None:
    async with client(scripted().app) as http:
        response = await http.post("/query", content=body, headers=JSON)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "; ;;"},
        {"content-type": "x" * 4000},
    ],
)
async def test_another_content_type_is_a_415(scripted: Make, client: Connect, headers: dict[str, str]) -> None:
    async with client(scripted().app) as http:
        response = await http.post("/query", content=b'{"question": "q"}', headers=headers)
    assert response.status_code == 415
    assert response.json()["type"] == "/problems/unsupported-media-type"
    assert len(response.content) < 1000


@pytest.mark.parametrize(
    "value", ["application/json; charset=utf-8", "APPLICATION/JSON", 'application/json;charset="UTF-8"']
)
async def test_spellings_of_json_are_accepted(scripted: Make, client: Connect, value: str) -> None:
    async with client(scripted().app) as http:
        response = await http.post("/query", content=b'{"question": "q"}', headers={"content-type": value})
    assert response.status_code == 200


async def test_values_are_not_echoed(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        response = await http.post("/query", json={"question": ["private words"], "k": "private words"})
    assert "private words" not in response.text


async def test_a_thousand_unknown_fields_make_a_short_answer(scripted: Make, client: Connect) -> None:
    body = {"question": "q"} | {f"{'unknown' * 100}-{n}": n for n in range(1000)}
    async with client(scripted().app) as http:
        response = await http.post("/query", json=body)
    assert response.status_code == 400
    assert len(response.content) < 1000


@pytest.mark.parametrize("value", ["a" * 128, "A.b_c-9"])
async def test_a_sane_request_id_is_kept(scripted: Make, client: Connect, value: str) -> None:
    async with client(scripted().app) as http:
        for path in ("/health", "/nope"):
            response = await http.get(path, headers={"X-Request-ID": value})
            assert response.headers.get_list("x-request-id") == [value]


@pytest.mark.parametrize("value", [b"", b"a" * 129, b"x" * 4096, b"a b", "ü".encode(), b"<script>", b"a\tb"])
async def test_another_request_id_is_replaced(scripted: Make, client: Connect, value: bytes) -> None:
    async with client(scripted().app) as http:
        response = await http.get("/health", headers={b"X-Request-ID": value})
    (given,) = response.headers.get_list("x-request-id")
    assert len(given) == 32


def exchange(port: int, request: bytes, *, enough: bytes = b"\r\n\r\n") -> bytes:
    """Send raw bytes; return what comes until the connection ends or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(request)
        received = b""
        while enough not in received:
            piece = sock.recv(65536)
            if not piece:
                break
            received += piece
        return received


def test_a_line_end_in_the_request_id_splits_no_response(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        smuggled = exchange(
            server.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\rSet-Cookie: b\r\n\r\n"
        )
        two = exchange(
            server.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\r\nSet-Cookie: b=1\r\n\r\n"
        )
    assert b"400" in smuggled.splitlines()[0]
    assert b"application/problem+json" in smuggled
    assert b"set-cookie" not in smuggled.lower() + two.lower()


def test_of_two_request_ids_the_first_counts(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        answer = exchange(
            server.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\r\nX-Request-ID: b\r\n\r\n"
        )
    assert b"x-request-id: a\r\n" in answer


def test_a_header_that_does_not_end_is_cut_off(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            sock.sendall(b"a" * 50_000_000)


def test_large_headers_within_the_bound_are_served_again_and_again(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server, httpx.Client(base_url=server.url) as http:
        for _ in range(5):
            response = http.post("/query", json={"question": "q" * 8000}, headers={"X-Large": "a" * 50_000})
            assert response.status_code == 200


@pytest.mark.parametrize(
    "request_line",
    [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /query HTTP/1.1\r\nContent-Length: -5\r\n\r\n"],
)
def test_what_is_no_http_is_a_400_problem_with_a_request_id(scripted: Make, serve: Serve, request_line: bytes) -> None:
    with serve(scripted().app) as server:
        answer = exchange(server.port, request_line)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"x-request-id: " in answer


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "something"])
@pytest.mark.parametrize("pieces", [1, 2, 10_000], ids=["at once", "body apart", "byte by byte"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_body_of_a_request_that_asks_for_another_protocol_is_its_body(
    scripted: Make, serve: Serve, protocol: str, pieces: int, is_chunked: bool
) -> None:
    """Java's client offers HTTP/2 so with each request; to take the body for a request would be smuggling."""
    body = b'{"question": "Who?"}'
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body
    head = (
        b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQ\r\n%s\r\n\r\n"
    ) % (protocol.encode(), framing)
    following = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    sent = [head + framed + following]
    if pieces == 2:
        sent = [head, framed + following]
    elif pieces > 2:
        sent = [bytes([each]) for each in sent[0]]
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in sent:
            sock.sendall(piece)
        answers = b""
        while piece := sock.recv(65536):
            answers += piece
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"200"]
    assert answers.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("head", [b"POST /query", b"CONNECT /query"])
def test_a_request_in_the_body_of_one_that_asks_for_another_protocol_is_not_answered(
    scripted: Make, serve: Serve, head: bytes
) -> None:
    inner = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = b"%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: %d\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(outer % (head, len(inner)))
        sock.sendall(inner)
        sock.sendall(last)
        answers = b""
        while piece := sock.recv(65536):
            answers += piece
    first, second = re.findall(rb"HTTP/1\.1 (\d+)", answers)
    assert first != b"200"
    assert second == b"404"


@pytest.mark.parametrize(("method", "path"), [("PUT", "/documents/a/readers"), ("POST", "/documents")])
@pytest.mark.parametrize("given", [None, "multipart/form-data; boundary=x", "multipart/mixed"])
def test_json_is_as_long_as_json_may_be_whatever_other_content_type_is_named(
    scripted: Make, serve: Serve, method: str, path: str, given: str | None
) -> None:
    """40 MB of it as an "upload" made a worker stand still for a minute, and take 10 GB of memory."""
    headers = [("Content-Type", "application/json"), *([("Content-Type", given)] if given else [])]
    body = b'{"readers": [' + b"[]," * 700_000 + b"[]]}"
    with serve(scripted().app) as server:
        answer = httpx.request(method, server.url + path, headers=headers, content=body, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/too-large"


async def test_of_too_many_readers_none_is_looked_at(scripted: Make, client: Connect) -> None:
    body = b'{"readers": [' + b"[]," * 100_000 + b"[]]}"
    async with client(scripted().app) as http:
        answer = await http.put("/documents/a/readers", content=body, headers=JSON)
    problem = answer.json()
    assert answer.status_code == 422
    assert [error["field"] for error in problem["errors"]] == ["readers"]
    assert "100" in problem["detail"]


WHOLE = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"G", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_connection_on_which_no_header_ends_is_closed(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.5)
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(begun)
        assert sock.recv(1) == b""


def test_a_further_request_whose_header_does_not_end_closes_its_connection(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(WHOLE)
        assert sock.recv(65536).endswith(b'{"status":"ok"}')
        monkeypatch.setattr(listener, "HEADER_SECONDS", 0.5)
        sock.sendall(WHOLE[:30])
        assert sock.recv(1) == b""


def test_a_connection_that_was_answered_may_be_silent(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 3.0)
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        for pause in (3.5, 0):
            sock.sendall(WHOLE)
            assert sock.recv(65536).endswith(b'{"status":"ok"}')
            time.sleep(pause)


def test_a_header_that_comes_byte_by_byte_has_no_more_time(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.5)

    def trickle(sock: socket.socket) -> None:
        for _ in range(600):
            sock.sendall(b"a")
            time.sleep(0.05)

    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        with pytest.raises(ConnectionError):
            trickle(sock)
