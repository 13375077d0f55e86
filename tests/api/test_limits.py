from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support.events import BODY, ending, parse
from support.scripted import DONE, HAPPY, SOURCES, Hang, Logged, Make, ScriptedState, Serve

from server.answers import Token


def test_a_question_of_ten_megabytes_is_a_413(scripted: Make, serve: Serve) -> None:
    made = scripted()
    with serve(made.app) as server:
        response = httpx.post(server.url + "/query", json={"question": "x" * 10_000_000})
    assert response.status_code == 413
    assert response.json()["type"] == "/problems/too-large"
    assert response.headers["connection"] == "close"
    assert response.headers["x-request-id"]
    assert made.answers.questions == []


def test_an_announced_body_that_is_too_large_is_refused_unread(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(
            b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
        )
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


def test_a_chunked_body_without_end_is_cut_off(scripted: Make, serve: Serve) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"question": "'
        while True:
            yield b"x" * 65536
            time.sleep(0.002)

    with serve(scripted().app) as server:
        response = httpx.post(
            server.url + "/query", content=endless(), headers={"content-type": "application/json"}, timeout=10
        )
    assert response.status_code == 413


def test_a_chunked_body_within_the_limit_is_read(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        pieces = iter([b'{"question": ', b'"q', b'"}'])
        response = httpx.post(server.url + "/query", content=pieces, headers={"content-type": "application/json"})
    assert response.status_code == 200


def test_the_body_limit_is_the_setting(scripted: Make, serve: Serve) -> None:
    body = json.dumps({"question": "q"}).encode()
    with serve(scripted(max_body_bytes=1024).app) as server, httpx.Client(base_url=server.url) as http:
        for padding, status in ((0, 200), (1024 - len(body), 200), (1025 - len(body), 413)):
            content = body + b" " * padding
            for sent in (content, iter([content])):
                response = http.post("/query", content=sent, headers={"content-type": "application/json"})
                assert response.status_code == status


@pytest.mark.parametrize("path", ["/query", "/query/stream", "/retrieve"])
def test_a_request_that_takes_too_long_is_a_504(scripted: Make, serve: Serve, path: str) -> None:
    made = scripted((Hang(),), request_timeout=0.3)
    with serve(made.app) as server:
        response = httpx.post(server.url + path, json=BODY)
    assert (response.status_code, response.json()["type"]) == (504, "/problems/deadline-exceeded")
    assert made.answers.closed.wait(5)


def test_a_body_that_never_comes_is_a_504(scripted: Make, serve: Serve) -> None:
    with (
        serve(scripted(request_timeout=0.3).app) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock,
    ):
        sock.sendall(
            b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
        )
        assert sock.recv(65536).startswith(b"HTTP/1.1 504")


def test_the_time_of_a_stream_is_not_bounded_by_the_request_timeout(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, 0.8, Token("late"), DONE), request_timeout=0.3)
    with serve(made.app) as server:
        assert ending(parse(httpx.post(server.url + "/query/stream", json=BODY).text)).name == "done"


def test_what_is_too_much_at_once_is_refused_and_later_served(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Token("a"), Hang()), max_concurrency=1)
    made.runtime.states = {"database": ScriptedState(ok=True, detail="up")}
    with serve(made.app) as server:
        with httpx.stream("POST", server.url + "/query/stream", json=BODY):
            assert made.answers.waiting.wait(5)
            refused = httpx.post(server.url + "/query", json=BODY)
            assert httpx.get(server.url + "/health").status_code == 200
            assert httpx.get(server.url + "/ready").status_code == 200
        assert made.answers.closed.wait(5)
        made.answers.script = HAPPY
        served = [httpx.post(server.url + "/query", json=BODY).status_code for _ in range(3)]
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
    assert refused.headers["retry-after"] == "1"
    assert served == [200, 200, 200]


def test_places_are_given_back_whatever_a_request_does(scripted: Make, serve: Serve) -> None:
    made = scripted((ValueError("boom"),), max_concurrency=2)
    with serve(made.app) as server, httpx.Client(base_url=server.url) as http:
        statuses = [http.post("/query", json=BODY).status_code for _ in range(5)]
        statuses += [http.get("/nope").status_code for _ in range(5)]
    assert statuses == [500] * 5 + [404] * 5


def test_one_line_is_logged_for_each_request_and_nothing_of_its_body(
    scripted: Make, serve: Serve, logged: Logged
) -> None:
    with serve(scripted().app) as server, httpx.Client(base_url=server.url) as http:
        http.post("/query", json={"question": "my private question"}, headers={"X-Request-ID": "id-1"})
        http.get("/documents/doc-1", headers={"X-Request-ID": "id-2"})
        http.get("/private/path?token=private", headers={"X-Request-ID": "id-3"})
    lines = [line for line in logged() if line["event"] == "request"]
    assert [(line["request_id"], line["method"], line["route"], line["status"]) for line in lines] == [
        ("id-1", "POST", "/query", 200),
        ("id-2", "GET", "/documents/{document_id}", 200),
        ("id-3", "GET", None, 404),
    ]
    assert all(line["ms"] > 0 for line in lines)
    assert "private" not in str(logged())


def test_a_client_that_left_is_logged_as_499(scripted: Make, serve: Serve, logged: Logged) -> None:
    made = scripted((Hang(),))
    with serve(made.app) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + "/query", json=BODY, timeout=0.3)
        assert made.answers.closed.wait(5)
    assert [line["status"] for line in logged() if line["event"] == "request"] == [499]
    assert [line for line in logged() if line["level"] in {"warning", "error"}] == []


def test_request_ids_are_not_mixed_up_between_concurrent_requests(scripted: Make, serve: Serve) -> None:
    made = scripted((0.01, *HAPPY))
    with serve(made.app) as server, httpx.Client(base_url=server.url) as http, ThreadPoolExecutor(16) as pool:
        sent = [f"id-{n}" for n in range(100)]
        answers = pool.map(lambda sid: http.post("/query", json=BODY, headers={"X-Request-ID": sid}), sent)
        got = [(answer.headers["x-request-id"], answer.json()["request_id"]) for answer in answers]
    assert got == [(sid, sid) for sid in sent]
