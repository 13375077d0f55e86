from __future__ import annotations

import json
import socket
import time

import httpx
import pytest
from support.events import BODY, ending, parse, read_until
from support.scripted import DONE, SOURCES, Hang, Make, Serve

from server.answers import Token
from server.engines.models.errors import ModelFailed, ModelUnavailable


@pytest.mark.parametrize(("path", "body"), [("/query/stream", BODY), ("/query", BODY | {"stream": True})])
def test_a_stream_is_sources_tokens_done_and_the_end_mark(
    scripted: Make, serve: Serve, path: str, body: dict[str, object]
) -> None:
    with serve(scripted().app) as server:
        response = httpx.post(server.url + path, json=body, headers={"X-Request-ID": "mine"})
    events = parse(response.text)
    assert [event.name for event in events] == ["sources", "token", "token", "done", None]
    assert [event.id for event in events] == ["1", "2", "3", "4", None]
    sources, done = events[0].data, events[3].data
    assert {"citations", "sources", "generation", "trace_id", "request_id", "stream_id"} <= set(sources)
    assert {"finish_reason", "model", "usage", "cost_usd", "timings_ms"} <= set(done)
    assert "".join(event.data["token"] for event in events[1:3]) == "Set the port [1]."
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-stream-id"] == sources["stream_id"]
    assert response.headers["x-request-id"] == sources["request_id"] == "mine"


def test_text_with_every_kind_of_line_end_stays_in_one_event(scripted: Make, serve: Serve) -> None:
    text = 'a\nb\r\nc\rd\u2028e\n\ndata: [DONE]\n\n: x\0 "q" 😀'
    with serve(scripted((SOURCES, Token(text), DONE)).app) as server:
        events = parse(httpx.post(server.url + "/query/stream", json=BODY).text)
    assert events[1].data == {"token": text}
    assert ending(events).name == "done"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModelFailed("the model sent HTML"), ("/problems/model-failed", 502, True)),
        (ModelUnavailable("gone", retry_after=9), ("/problems/model-unavailable", 503, True)),
        (ValueError("secret"), ("/problems/internal", 500, False)),
    ],
)
def test_an_error_on_the_way_is_the_last_event(
    scripted: Make,
    serve: Serve,
    error: Exception,
    expected: tuple[str, int, bool],
) -> None:
    with serve(scripted((SOURCES, Token("a"), error)).app) as server:
        response = httpx.post(server.url + "/query/stream", json=BODY)
    last = ending(parse(response.text))
    assert response.status_code == 200
    assert last.name == "error"
    assert (last.data["type"], last.data["status"], last.data["retryable"]) == expected
    assert last.data["request_id"] == response.headers["x-request-id"]
    assert "secret" not in response.text


@pytest.mark.parametrize(
    "script",
    [
        (SOURCES, Token("a")),
        (SOURCES,),
        (SOURCES, Token("a"), object()),
    ],
)
def test_a_service_that_breaks_its_word_still_ends_in_one_error(
    scripted: Make, serve: Serve, script: tuple[object, ...]
) -> None:
    with serve(scripted(script).app) as server:
        last = ending(parse(httpx.post(server.url + "/query/stream", json=BODY).text))
    assert (last.name, last.data["type"]) == ("error", "/problems/internal")


def test_nothing_follows_done(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, DONE, Token("late"), RuntimeError("late"), DONE))
    with serve(made.app) as server:
        text = httpx.post(server.url + "/query/stream", json=BODY).text
    assert ending(parse(text)).name == "done"
    assert "late" not in text
    assert made.answers.closed.is_set()


def test_a_generator_that_ends_without_an_event_is_a_plain_500(scripted: Make, serve: Serve) -> None:
    with serve(scripted(()).app) as server:
        response = httpx.post(server.url + "/query/stream", json=BODY)
    assert (response.status_code, response.json()["type"]) == (500, "/problems/internal")


def test_silence_is_filled_with_pings(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, 0.6, Token("a"), DONE), ping_interval=0.1)
    with serve(made.app) as server:
        text = httpx.post(server.url + "/query/stream", json=BODY).text
    assert 2 <= text.count(": ping\n\n") <= 7
    assert [event.name for event in parse(text)] == ["sources", "token", "done", None]


def test_a_stream_that_talks_is_not_pinged(scripted: Make, serve: Serve) -> None:
    script = (SOURCES, *(step for _ in range(12) for step in (0.05, Token("a"))), DONE)
    with serve(scripted(script, ping_interval=0.5).app) as server:
        assert ": ping" not in httpx.post(server.url + "/query/stream", json=BODY).text


def test_tokens_are_not_held_back(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Token("first"), Hang()))
    with (
        serve(made.app) as server,
        httpx.stream("POST", server.url + "/query/stream", json=BODY, timeout=5) as response,
    ):
        _rest = read_until(response, "first")
        assert made.answers.waiting.wait(5)


@pytest.mark.parametrize("script", [(SOURCES, Token("first"), Hang()), (SOURCES, Hang())])
def test_a_client_that_leaves_cancels_the_model_at_once(
    scripted: Make, serve: Serve, script: tuple[object, ...]
) -> None:
    made = scripted(script)
    with serve(made.app) as server:
        with httpx.stream("POST", server.url + "/query/stream", json=BODY) as response:
            _rest = read_until(response, "event: sources")
            assert made.answers.waiting.wait(5)
            assert not made.answers.closed.wait(0.2)
        assert made.answers.closed.wait(5)
        assert made.answers.closed_by[0].__name__ == "CancelledError"


@pytest.mark.parametrize("path", ["/query", "/query/stream", "/retrieve"])
def test_a_client_that_leaves_before_the_first_byte_cancels_the_work(scripted: Make, serve: Serve, path: str) -> None:
    made = scripted((Hang(),))
    with serve(made.app) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + path, json=BODY, timeout=0.3)
        assert made.answers.closed.wait(5)
        assert len(made.app.state.open_requests) == 0


def test_a_reader_that_stands_still_stops_the_model_and_nothing_piles_up(scripted: Make, serve: Serve) -> None:
    tokens = 20_000
    made = scripted((SOURCES, *[Token("x" * 1000)] * tokens, DONE))
    payload = json.dumps(BODY).encode()
    with serve(made.app) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(
            b"POST /query/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(payload), payload)
        )
        given = -1
        while given != made.answers.given:  # until it stands still
            given = made.answers.given
            time.sleep(0.3)
        assert 0 < given < tokens
        sock.close()
        assert made.answers.closed.wait(5)
        assert made.answers.given < tokens


def test_an_application_without_runtime_errors_serves_many_streams_at_once(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, 0.2, Token("a"), 0.2, DONE))
    with serve(made.app) as server, httpx.Client(base_url=server.url) as http:
        streams = [http.send(http.build_request("POST", "/query/stream", json=BODY), stream=True) for _ in range(50)]
        ends = [ending(parse(stream.read().decode())).name for stream in streams]
        ids = {stream.headers["x-stream-id"] for stream in streams}
    assert ends == ["done"] * 50
    assert len(ids) == 50
