"""``python -m server`` told to stop, over a real database: what runs ends well, what does not is told why, and kept."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.stack import PATIENCE, texts, until

ASKED = "Who built the lighthouse of Ostrava Bay?"
CHAT = {"message": ASKED}
WORDS = " ".join(f"word{n}" for n in range(10))


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh()


@contextmanager
def begun(url, body=CHAT, *, path="/chat/stream", mark="event: token"):
    """Hold a stream; yields what came so far, its id, and a function for the rest."""
    with httpx.stream("POST", url + path, json=body, timeout=PATIENCE) as response:
        pieces, seen = response.iter_text(), ""
        while mark not in seen:
            seen += next(pieces)
        yield seen, response.headers["x-stream-id"], lambda: parse(seen + "".join(pieces))


def is_refused(url):
    try:
        httpx.get(f"{url}/health", timeout=PATIENCE)
    except httpx.ConnectError:
        return True
    return False


def conversation_of(seen):
    return parse(seen)[0].data["conversation_id"]


def kept(stack, conversation):
    return stack.rows(
        "SELECT state, problem, answer FROM footnote.turns WHERE conversation_id = %s ORDER BY number", conversation
    )


WORKERS = {"program": ("-m", "server"), "forked": False, "SERVER__WORKERS": "2"}
processes = pytest.mark.parametrize("how", [{}, WORKERS], ids=["one", "two"])


@processes
def test_the_end_of_a_process_from_the_signal_to_the_exit_code(stack, how):
    finishing, detached, hanging = (
        Reply(WORDS, delay=0.15),
        Reply(f"detached {WORDS}", delay=0.15),
        Reply("one two three", fault="hang-between"),
    )
    times = {"SERVER__DRAIN_DELAY": "2", "SERVER__SHUTDOWN_TIMEOUT": "4", "STREAMS__GRACE": "30"}
    with (
        stack.process(**how, **times) as process,
        ThreadPoolExecutor(4) as pool,
        httpx.Client(base_url=process.url, timeout=PATIENCE) as kept_alive,
    ):
        children = psutil.Process(process.popen.pid).children(recursive=True)
        url = process.url
        assert httpx.get(f"{url}/ready", timeout=PATIENCE).status_code == 200
        stack.fresh(detached, finishing, hanging, hanging)
        with begun(url) as (gone, _, _):
            pass  # its client left, and may come back
        with begun(url) as (seen, stream, rest), begun(url) as (stuck, _, rest_of_stuck):
            plain = pool.submit(httpx.post, f"{url}/chat", json=CHAT, timeout=PATIENCE)
            until(lambda: len(stack.model.requests) == 4)
            kept_alive.get("/conversations")
            process.signal(signal.SIGTERM)
            ready = until(lambda: (found := httpx.get(f"{url}/ready", timeout=PATIENCE)).status_code == 503 and found)
            health = httpx.get(f"{url}/health", timeout=PATIENCE)
            announced = [
                httpx.post(f"{url}/retrieve", json={"question": ASKED}, timeout=PATIENCE),
                httpx.get(f"{url}/conversations", timeout=PATIENCE),
            ]
            until(lambda: is_refused(url))
            last_one = kept_alive.get("/conversations")
            finished = pool.submit(rest)
            cut = pool.submit(rest_of_stuck)
            answer = plain.result(PATIENCE)
            finished, cut = finished.result(PATIENCE), cut.result(PATIENCE)
        code, err = process.ended()
    assert (ready.json()["type"], health.status_code) == ("/problems/overloaded", 200)
    assert [(each.status_code, each.headers["connection"]) for each in [*announced, last_one]] == [(200, "close")] * 3
    assert (ending(finished).name, texts(finished)) == ("done", WORDS)
    last = ending(cut)
    assert (last.name, last.data["type"], last.data["retryable"]) == ("error", "/problems/overloaded", True)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/overloaded")
    assert answer.headers["retry-after"]
    assert kept(stack, conversation_of(seen)) == [("complete", None, WORDS)]
    assert kept(stack, conversation_of(gone)) == [("complete", None, f"detached {WORDS}")]
    ((state, _, answer_kept),) = kept(stack, conversation_of(stuck))
    assert (state, answer_kept) == ("abandoned", "one two three")
    assert stack.rows("SELECT count(*) FROM footnote.turns WHERE state = 'running'") == [(0,)]
    assert stack.rows("SELECT count(*) FROM footnote.leases") == [(0,)]
    assert code == 0, err
    assert "Traceback" not in err
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert stream


@processes
def test_a_second_signal_hurries_and_still_keeps_what_was_said(stack, how):
    stack.fresh(default=Reply("one two three", fault="hang-between"))
    with stack.process(SERVER__SHUTDOWN_TIMEOUT="600", STREAMS__GRACE="600", **how) as process:
        with begun(process.url) as (gone, _, _):
            pass
        with begun(process.url) as (seen, _, rest):
            process.signal(signal.SIGINT)
            until(lambda: is_refused(process.url))
            assert process.popen.poll() is None
            process.signal(signal.SIGTERM)
            last = ending(rest())
        code, err = process.ended()
    assert last.data["type"] == "/problems/overloaded"
    for conversation in map(conversation_of, (gone, seen)):
        ((state, _, answer),) = kept(stack, conversation)
        assert (state, answer) == ("abandoned", "one two three")
    assert stack.rows("SELECT count(*) FROM footnote.leases") == [(0,)]
    assert code == 0, err
    assert "Traceback" not in err


def test_nothing_to_wait_for_ends_at_once_unless_load_balancers_need_time(stack):
    for delay in (0, 1.5):
        with stack.serve(server={"drain_delay": delay, "shutdown_timeout": 0.1}) as http:
            http.post("/chat", json=CHAT)
            began = time.monotonic()
            http.served.stop()
            until(lambda http=http: http.app.state.drain.begun)
            with suppress(httpx.ConnectError):  # it may be gone
                assert http.get("/ready").status_code == 503
                assert delay == 0 or http.get("/conversations").status_code == 200
            http.served.thread.join(PATIENCE)
            assert (time.monotonic() - began >= delay) or not delay
        assert not http.served.thread.is_alive()


def test_a_stream_that_is_taken_up_again_while_the_server_stops_goes_on_until_its_time_is_over(stack):
    stack.fresh(Reply("one two three", fault="hang-between"))
    with stack.serve(server={"shutdown_timeout": 1}) as http:
        with begun(str(http.base_url)) as (seen, stream, _):
            pass
        http.get("/conversations")  # by a connection that is kept
        http.served.stop()
        until(lambda: http.app.state.drain.closing)
        response = http.get(f"/streams/{stream}")
        http.served.thread.join(PATIENCE)
    last = ending(parse(response.text))
    assert (last.name, last.data["type"], last.data["retryable"]) == ("error", "/problems/overloaded", True)
    ((state, _, _),) = kept(stack, conversation_of(seen))
    assert state == "abandoned"


def test_a_key_whose_answer_was_cut_by_the_stop_is_free_for_the_next_server(stack):
    stack.fresh(Reply("one two three", fault="hang-between"), default=Reply("All is well [1]."))
    key = {"Idempotency-Key": "cut-by-the-stop"}
    with stack.serve(server={"shutdown_timeout": 0.3}) as http, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(http.post, "/chat", json=CHAT, headers=key)
        until(lambda: stack.model.requests)
        http.served.stop()
        assert asked.result(PATIENCE).status_code == 503
        http.served.thread.join(PATIENCE)
    with stack.serve() as http:
        again = http.post("/chat", json=CHAT, headers=key)
    assert (again.status_code, again.json()["answer"]) == (200, "All is well [1].")
    assert "idempotent-replayed" not in again.headers


def test_a_database_that_is_gone_does_not_keep_a_server_from_stopping(stack):
    stack.fresh(Reply("one two three", fault="hang-between"))
    with stack.serve(server={"shutdown_timeout": 0.3}) as http, begun(str(http.base_url)) as (_, _, rest):
        stack.rows(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'footnote'"""
        )
        http.served.stop()
        assert ending(rest()).data["type"] == "/problems/overloaded"
        http.served.thread.join(PATIENCE)
        assert not http.served.thread.is_alive()
