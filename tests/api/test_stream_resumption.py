"""Streams that outlive their connections, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from support.events import BODY, ending, parse
from support.scripted import DONE, SOURCES, Hang, Logged, Make, Scripted, Serve
from support.stack import until

from server.answers import Token
from server.engines.models.errors import ModelFailed
from server.streams import run

WORDS = tuple(Token(f"{n} ") for n in range(12))
SLOW = (SOURCES, *(step for word in WORDS for step in (0.05, word)), DONE)


def dropped(url: str, path: str = "/query/stream", *, after: str = "event: token") -> tuple[str, str]:
    """Ask, read up to a mark and drop the connection; return the stream's id and the id of the last whole event."""
    with httpx.stream("POST", url + path, json=BODY) as response:
        seen = ""
        for piece in response.iter_text():
            seen += piece
            if after in seen and seen.endswith("\n\n"):
                break
        return response.headers["x-stream-id"], parse(seen)[-1].id or "0"


def _rest_of(sock: socket.socket) -> bytes:
    arrived = b""
    with suppress(ConnectionResetError):
        while piece := sock.recv(1 << 20):
            arrived += piece
    return arrived


def test_a_dropped_stream_goes_on_where_it_was_and_the_model_is_asked_once(scripted: Make, serve: Serve) -> None:
    made = scripted(SLOW, streams={"grace": 10})
    with serve(made.app) as server:
        stream, last = dropped(server.url)
        time.sleep(0.1)
        response = httpx.get(f"{server.url}/streams/{stream}", headers={"Last-Event-ID": last})
    events = parse(response.text)
    assert [int(event.id or 0) for event in events[:-1]] == list(range(int(last) + 1, 15))
    assert ending(events).name == "done"
    assert response.headers["x-stream-id"] == stream
    assert response.headers["x-accel-buffering"] == "no"
    assert len(made.answers.questions) == 1


def test_without_a_last_event_id_a_stream_is_told_from_its_beginning(scripted: Make, serve: Serve) -> None:
    with serve(scripted(SLOW, streams={"grace": 10}).app) as server:
        stream, _ = dropped(server.url)
        again = httpx.get(f"{server.url}/streams/{stream}").text
        once_more = httpx.get(f"{server.url}/streams/{stream}").text
    assert [event.name for event in parse(again)] == ["sources", *["token"] * 12, "done", None]
    assert again == once_more  # what has ended is kept, with the same ids


def test_many_readers_get_the_same_events_and_a_slow_one_holds_nobody_up(scripted: Make, serve: Serve) -> None:
    made = scripted(SLOW, streams={"grace": 10})
    with serve(made.app) as server:
        stream, _ = dropped(server.url)
        idle = socket.create_connection(("127.0.0.1", server.port))
        idle.sendall(f"GET /streams/{stream} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda _: httpx.get(f"{server.url}/streams/{stream}").text, range(8)))
        idle.close()
    assert len(set(texts)) == 1
    assert ending(parse(texts[0])).name == "done"
    assert len(made.answers.questions) == 1


def test_nobody_coming_back_ends_the_model_after_the_grace_time_and_says_so_later(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Token("a"), Hang()), streams={"grace": 0.5})
    with serve(made.app) as server:
        stream, _ = dropped(server.url)
        assert not made.answers.closed.wait(0.2)
        assert made.answers.closed.wait(5)
        events = parse(httpx.get(f"{server.url}/streams/{stream}").text)
    assert ending(events).data["type"] == "/problems/stream-abandoned"
    assert ending(events).data["retryable"] is True


def test_coming_back_in_time_keeps_the_model_at_work(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Token("a"), 1.2, Token("b"), DONE), streams={"grace": 0.6})
    with serve(made.app) as server:
        stream, last = dropped(server.url)
        time.sleep(0.2)
        events = parse(httpx.get(f"{server.url}/streams/{stream}", headers={"Last-Event-ID": last}).text)
    assert ending(events).name == "done"


def test_who_leaves_before_the_first_event_cannot_come_back_and_ends_the_work_at_once(
    scripted: Make, serve: Serve
) -> None:
    made = scripted((Hang(),), streams={"grace": 30})
    with serve(made.app) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + "/query/stream", json=BODY, timeout=0.3)
        assert made.answers.closed.wait(1)


def test_an_error_is_kept_like_any_other_end(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Token("a"), 0.4, ModelFailed("gone")), streams={"grace": 5})
    with serve(made.app) as server:
        stream, last = dropped(server.url)
        assert made.answers.closed.wait(5)
        events = parse(httpx.get(f"{server.url}/streams/{stream}", headers={"Last-Event-ID": last}).text)
    assert [event.name for event in events] == ["error", None]


def test_behind_the_last_event_there_is_nothing_to_come_back_for(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        first = httpx.post(server.url + "/query/stream", json=BODY)
        url = f"{server.url}/streams/{first.headers['x-stream-id']}"
        response = httpx.get(url, headers={"Last-Event-ID": ending(parse(first.text)).id or ""})
    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "99", "999999999999999999999", "१"])
def test_a_last_event_id_that_the_stream_never_gave_is_refused(scripted: Make, serve: Serve, bad: str) -> None:
    with serve(scripted().app) as server:
        stream = httpx.post(server.url + "/query/stream", json=BODY).headers["x-stream-id"]
        response = httpx.get(f"{server.url}/streams/{stream}", headers={"Last-Event-ID": bad.encode()})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].lower() == "last-event-id"


@pytest.mark.parametrize("stream", ["0" * 48, "f" * 48])
def test_an_unknown_stream_is_a_404(scripted: Make, serve: Serve, stream: str) -> None:
    with serve(scripted().app) as server:
        response = httpx.get(f"{server.url}/streams/{stream}")
    assert (response.status_code, response.json()["type"]) == (404, "/problems/stream-not-found")


@pytest.mark.parametrize("stream", ["x", "0" * 32, "0" * 47, "0" * 49, "../../etc/passwd", "%00", "A" * 32])
def test_what_is_no_stream_id_is_refused(scripted: Make, serve: Serve, stream: str) -> None:
    with serve(scripted().app) as server:
        assert httpx.get(f"{server.url}/streams/{stream}").status_code in {404, 422}


def test_streams_that_ended_are_forgotten_in_time_and_when_they_are_too_many(scripted: Make, serve: Serve) -> None:
    script = (SOURCES, Token("x" * 30_000), DONE)
    with serve(scripted(script, streams={"keep": 3, "kept_bytes": 65_536}).app) as server:
        streams = [httpx.post(server.url + "/query/stream", json=BODY).headers["x-stream-id"] for _ in range(4)]
        kept = [httpx.get(f"{server.url}/streams/{stream}").status_code for stream in streams]
        time.sleep(3.2)
        later = [httpx.get(f"{server.url}/streams/{stream}").status_code for stream in streams]
    assert kept == [404, 404, 200, 200]
    assert later == [404] * 4


def test_an_answer_larger_than_what_is_kept_cannot_be_told_from_its_beginning(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (SOURCES, *[Token("x" * 10_000)] * 20, DONE)
    monkeypatch.setattr(run, "MAX_BYTES", 65_536)
    monkeypatch.setattr(run, "WINDOW_BYTES", 20_000)
    with serve(scripted(script).app) as server:
        first = httpx.post(server.url + "/query/stream", json=BODY)
        url = f"{server.url}/streams/{first.headers['x-stream-id']}"
        begun, late = httpx.get(url), httpx.get(url, headers={"Last-Event-ID": "18"})
    assert ending(parse(first.text)).name == "done"
    assert (begun.status_code, late.status_code) == (404, 200)


def test_nobody_reading_bounds_what_a_model_may_write_ahead(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (SOURCES, 0.5, *[Token("x" * 1000)] * 500, DONE)
    monkeypatch.setattr(run, "MAX_BYTES", 65_536)
    made = scripted(script, streams={"grace": 20})
    with serve(made.app) as server:
        stream, last = dropped(server.url, after="event: sources")
        time.sleep(0.5)
        given = 1
        while given != made.answers.given:
            given = made.answers.given
            time.sleep(0.2)
        assert 1 < given < 200
        events = parse(httpx.get(f"{server.url}/streams/{stream}", headers={"Last-Event-ID": last}).text)
    assert ending(events).name == "done"
    assert len(events) > 490


def test_a_reader_that_stands_still_for_too_long_loses_its_connection_and_may_come_back(
    scripted: Make, serve: Serve, logged: Logged
) -> None:
    script = (SOURCES, *[Token("x" * 10_000)] * 2_000, DONE)
    made = scripted(script, streams={"grace": 0, "write_timeout": 0.5})
    with serve(made.app) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(
            b"POST /query/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 17\r\n\r\n{"question": "q"}'
        )
        assert made.answers.closed.wait(10)
        sock.settimeout(10)
        arrived = _rest_of(sock)
        assert made.app.state.drain.running == 0
    assert b"DONE" not in arrived
    assert not [line for line in logged() if line["level"] == "error"]


def test_a_stream_has_a_last_moment_whatever_the_model_does(scripted: Make, serve: Serve) -> None:
    script = (SOURCES, *(step for _ in range(100) for step in (0.05, Token("a"))), DONE)
    with serve(scripted(script, streams={"total_timeout": 0.6}).app) as server:
        last = ending(parse(httpx.post(server.url + "/query/stream", json=BODY).text))
    assert (last.name, last.data["type"]) == ("error", "/problems/deadline-exceeded")


@pytest.mark.parametrize("streams", [100, pytest.param(500, marks=pytest.mark.soak)])
def test_hundreds_of_streams_at_once_on_one_worker_all_end(scripted: Make, serve: Serve, streams: int) -> None:
    script = (SOURCES, *(step for word in WORDS for step in (0.1, word)), DONE)
    made = scripted(script, max_concurrency=600)
    ends: list[str | None] = []
    lock = threading.Lock()

    def read(http: httpx.Client) -> None:
        text = http.post("/query/stream", json=BODY).text
        with lock:
            ends.append(ending(parse(text)).name)

    limits = httpx.Limits(max_connections=600)
    with serve(made.app) as server, httpx.Client(base_url=server.url, timeout=60, limits=limits) as http:
        threads = [threading.Thread(target=read, args=(http,)) for _ in range(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made.runtime.streams) == 0
    assert ends == ["done"] * streams


ENDLESS = (SOURCES, Token("It begins. "), Hang())


def left(made: Scripted, url: str) -> str:
    """Ask and leave; return the stream's id once the server has noticed."""
    stream, _ = dropped(url)
    until(lambda: next(reversed(made.runtime.streams._unread), None) == stream)
    return stream


def test_answers_whose_clients_left_are_bounded_and_the_one_left_first_ends_first(scripted: Make, serve: Serve) -> None:
    made = scripted(ENDLESS, streams={"grace": 60, "max_unread": 3})
    with serve(made.app) as server:
        streams = [left(made, server.url) for _ in range(12)]
        until(lambda: len(made.runtime.streams) == 3)
        for stream in streams[:9]:
            events = parse(httpx.get(f"{server.url}/streams/{stream}").text)
            assert ending(events).data["type"] == "/problems/stream-abandoned"
        assert set(made.runtime.streams._running) == set(streams[9:])
    assert len(made.answers.questions) == 12


def test_who_is_read_again_is_not_among_those_left(scripted: Make, serve: Serve) -> None:
    made = scripted(ENDLESS, streams={"grace": 60, "max_unread": 1})
    with serve(made.app) as server:
        first = left(made, server.url)
        with httpx.stream("GET", f"{server.url}/streams/{first}", timeout=30) as again:
            pieces = again.iter_text()  # a generator that is dropped closes the connection
            assert "It begins." in next(pieces)
            others = [left(made, server.url) for _ in range(3)]
            until(lambda: len(made.runtime.streams) == 2)
            assert set(made.runtime.streams._running) == {first, others[-1]}


def test_where_no_more_may_run_answers_without_readers_make_room_for_questions(scripted: Make, serve: Serve) -> None:
    made = scripted(ENDLESS, streams={"grace": 60}, max_concurrency=4)
    with serve(made.app) as server:
        streams = []
        for _ in range(10):
            streams.append(left(made, server.url))
            until(lambda: len(made.runtime.streams) <= 4)
        assert set(made.runtime.streams._running) == set(streams[-4:])


def test_where_all_have_readers_a_question_is_refused_and_its_key_may_be_used_again(
    scripted: Make, serve: Serve
) -> None:
    made = scripted(SLOW)
    key = {"Idempotency-Key": "k-1"}
    with serve(made.app) as server:
        most, made.runtime.streams._most = made.runtime.streams._most, 0
        for path, headers in (("/query/stream", {}), ("/query/stream", key), ("/query", key)):
            refused = httpx.post(server.url + path, json=BODY, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
            assert refused.headers["retry-after"]
        made.runtime.streams._most = most
        assert httpx.post(server.url + "/query", json=BODY, headers=key).status_code == 200
    assert len(made.answers.questions) == 1
