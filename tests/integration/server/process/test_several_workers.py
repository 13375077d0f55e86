"""One server, several processes: whichever of them a connection reaches, it is the same server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.stack import PATIENCE, Process, Stack, open_stack, texts, until

from server.engines.models.local import missing

BODY = {"question": "When is the lamp lit?", "k": 2}


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as made:
        yield made


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Process]:
    # of a worker that a test makes stand still, and of a machine that starts others meanwhile
    patient = {"LLM__TOKEN_TIMEOUT": "120", "LLM__TOTAL_TIMEOUT": "300", "SERVER__MAX_WAIT": "120"}
    with stack.process(program=("-m", "server"), forked=False, SERVER__WORKERS="2", **patient) as process:
        yield process


def workers(process: Process) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.popen.pid).children() if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    try:
        return child.cmdline()[1:4] == ["-m", "server", "worker"]
    except psutil.Error:  # it has ended
        return False


def fresh(process: Process) -> httpx.Client:
    """Return a client with a connection of its own, which any worker may take."""
    return httpx.Client(base_url=process.url, timeout=PATIENCE)


def test_a_dropped_stream_is_taken_up_whoever_is_asked(stack, server):
    stack.fresh(Reply(text="one two three four five six seven eight [1].", delay=0.25))
    with fresh(server) as http, http.stream("POST", "/query/stream", json=BODY) as response:
        stream_id = response.headers["X-Stream-ID"]
        seen = next(response.iter_text())
    heard = []
    for _ in range(8):  # of connections so many, some reach the other worker
        with fresh(server) as http:
            heard.append(http.get(f"/streams/{stream_id}").raise_for_status().text)
    assert seen
    assert len(set(heard)) == 1
    events = parse(heard[0])
    assert ending(events).name == "done"
    assert "eight" in texts(events)
    assert len(stack.model.requests) == 1


def test_a_stream_is_taken_up_behind_an_event_by_whoever_is_asked(stack, server):
    stack.fresh(Reply(text="one two three four [1]."))
    with fresh(server) as http:
        whole = http.post("/query/stream", json=BODY)
    events = parse(whole.text)
    stream_id = whole.headers["X-Stream-ID"]
    for _ in range(6):
        with fresh(server) as http:
            rest = http.get(f"/streams/{stream_id}", headers={"Last-Event-ID": "3"})
        assert [event.id for event in parse(rest.text)] == [event.id for event in events[3:]]


def test_a_stream_of_nobody_is_not_found(server):
    for name in ("0" * 48, "f" * 48):
        with fresh(server) as http:
            assert http.get(f"/streams/{name}").status_code == 404


def test_the_metrics_of_any_worker_are_those_of_all(stack, server):
    stack.fresh()
    with ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> None:
            with fresh(server) as http:
                assert http.post("/retrieve", json=BODY).status_code == 200

        list(pool.map(ask, range(24)))
    counted = set()
    for _ in range(6):
        with fresh(server) as http:
            text = http.get("/metrics").text
        lines = re.findall(
            r'^http_server_request_duration_seconds_count\{.*route="/retrieve".*\} (\S+)$', text, re.MULTILINE
        )
        counted.add(sum(float(line) for line in lines))
        assert len(set(re.findall(r'worker="(\w+)"', text))) == 2
        types = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
        assert len(types) == len(set(types))
    assert len(counted) == 1
    assert counted.pop() >= 24


def test_one_key_at_two_workers_is_one_answer(stack, server):
    stack.fresh(Reply(text="The lamp is lit at dusk [1].", delay=0.1))

    def ask(_: int) -> str:
        with fresh(server) as http:
            return str(http.post("/query", json=BODY, headers={"Idempotency-Key": "twice"}).json()["answer"])

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(ask, range(6)))
    assert answers == {"The lamp is lit at dusk [1]."}
    assert len(stack.model.requests) == 1


def test_a_conversation_that_is_deleted_anywhere_takes_its_stream_with_it(stack, server):
    stack.fresh(Reply(text="word " * 40 + "[1].", delay=0.1))
    with fresh(server) as http:
        with http.stream("POST", "/chat/stream", json={"message": "When is the lamp lit?"}) as response:
            stream_id = response.headers["X-Stream-ID"]
            first = parse(next(response.iter_text()))[0]
            conversation = first.data["conversation_id"]
        assert http.delete(f"/conversations/{conversation}").status_code == 204
    for _ in range(6):
        with fresh(server) as http:
            assert http.get(f"/streams/{stream_id}").status_code == 404


def test_a_worker_that_is_killed_is_started_again_and_the_other_one_answers(server):
    before = {child.pid for child in workers(server)}
    os.kill(min(before), signal.SIGKILL)
    with fresh(server) as http:
        assert http.get("/health").status_code == 200
    until(lambda: len(workers(server)) == 2 and {child.pid for child in workers(server)} != before)

    def is_whole() -> bool:
        with fresh(server) as http:
            return bool(http.get("/ready").json()["dependencies"]["workers"]["detail"] == "2 of 2")

    until(is_whole)


def test_a_reload_under_load_replaces_every_worker_and_loses_no_request(stack, server):
    stack.fresh()
    before = {child.pid for child in workers(server)}
    statuses: Counter[str] = Counter()
    over = threading.Event()

    def keep_asking(keeps_connection: bool) -> None:
        with fresh(server) as kept:
            while not over.is_set():
                try:
                    if keeps_connection:
                        response = kept.post("/retrieve", json=BODY)
                    else:
                        with fresh(server) as http:
                            response = http.post("/retrieve", json=BODY)
                except httpx.HTTPError as exc:
                    statuses[type(exc).__name__] += 1
                else:
                    statuses["200" if response.is_success else response.text] += 1

    threads = [threading.Thread(target=keep_asking, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    server.popen.send_signal(signal.SIGHUP)
    until(lambda: len(workers(server)) == 2 and not before & {child.pid for child in workers(server)}, seconds=180)
    time.sleep(0.5)
    over.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {"200"}
    assert statuses["200"] > 20


def test_reloads_in_the_middle_of_streams_cut_none_of_them_off(stack, server):
    words = " ".join(f"word{number}" for number in range(60))
    stack.fresh(default=Reply(text=words, delay=0.1))
    before = {child.pid for child in workers(server)}

    def listen(_: int) -> tuple[str, str]:
        with fresh(server) as http:
            whole = http.post("/query/stream", json=BODY)
        return whole.headers["X-Stream-ID"], whole.text

    with ThreadPoolExecutor(6) as pool:
        streams = pool.map(listen, range(6))
        until(lambda: len(stack.model.requests) == 6)
        for _ in range(5):
            server.popen.send_signal(signal.SIGHUP)
        heard = list(streams)
    for _, text in heard:
        assert ending(parse(text)).name == "done"
        assert texts(parse(text)).split() == words.split()
    until(lambda: len(workers(server)) == 2 and not before & {child.pid for child in workers(server)}, seconds=180)
    with fresh(server) as http:
        assert http.get("/ready").json()["dependencies"]["workers"]["ok"]
        # their workers took them along
        assert {http.get(f"/streams/{stream}").status_code for stream, _ in heard} == {404}


def test_a_stream_whose_worker_is_killed_is_told_of_as_lost_by_the_other_one(stack, server):
    until(lambda: len(workers(server)) == 2)
    stack.fresh(default=Reply(text="word " * 200, delay=0.1))
    with fresh(server) as http, http.stream("POST", "/query/stream", json=BODY) as response:
        stream_id = response.headers["X-Stream-ID"]
        next(response.iter_text())
        owner = next(child for child in workers(server) if stream_id[:8] in child.cmdline())
        with ExitStack() as stack_of_readers:
            readers = []
            for _ in range(8):  # of which some are the other worker's
                client = stack_of_readers.enter_context(fresh(server))
                reader = stack_of_readers.enter_context(client.stream("GET", f"/streams/{stream_id}"))
                assert reader.status_code == 200
                readers.append(reader)
            owner.kill()
            ends = Counter(filter(None, map(how_it_ended, readers)))
    assert set(ends) <= {"cut", "/problems/stream-lost"}
    assert ends["/problems/stream-lost"]
    with fresh(server) as http:
        assert http.get(f"/streams/{stream_id}").status_code == 404
    until(lambda: len(workers(server)) == 2)


def how_it_ended(reader: httpx.Response) -> str:
    try:
        text = "".join(reader.iter_text())
    except httpx.HTTPError:
        return "cut"
    last = ending(parse(text))
    return str(last.data["type"]) if last.name == "error" else last.name


def test_a_worker_that_stands_still_is_waited_for_by_nobody_for_long(stack, server):
    until(lambda: len(workers(server)) == 2)
    stack.fresh(default=Reply(text="word " * 30, delay=0.1))
    with fresh(server) as http, http.stream("POST", "/query/stream", json=BODY) as response:
        stream_id = response.headers["X-Stream-ID"]
        pieces = response.iter_text()
        seen = next(pieces)
        owner = next(child for child in workers(server) if stream_id[:8] in child.cmdline())
        owner.suspend()
        try:
            with fresh(server) as other:
                assert other.get(f"/streams/{stream_id}", timeout=30).status_code == 404
                metrics = other.get("/metrics", timeout=30).text
                assert other.post("/retrieve", json=BODY).status_code == 200
        finally:
            owner.resume()
        assert stream_id[:8] not in set(re.findall(r'worker="(\w+)"', metrics))
        last = ending(parse(seen + "".join(pieces)))
        assert last.name == "done", last.data


def test_kills_under_load_fail_only_what_the_killed_one_had(stack, server):
    until(lambda: len(workers(server)) == 2)
    stack.fresh()
    statuses: Counter[str] = Counter()
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            try:
                with fresh(server) as http:
                    statuses[str(http.post("/retrieve", json=BODY).status_code)] += 1
            except httpx.HTTPError as exc:
                statuses[type(exc).__name__] += 1

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        until(lambda: len(workers(server)) == 2)
        before = statuses["200"]
        workers(server)[0].kill()
        until(lambda before=before: statuses["200"] > before + 5)
    over.set()
    for thread in threads:
        thread.join()
    cut = sum(statuses.values()) - statuses["200"]
    assert set(statuses) <= {"200", "RemoteProtocolError", "ReadError"}
    assert cut <= 3 * len(threads)


def test_a_burst_that_one_worker_gets_is_answered_up_to_the_whole_limit(stack):
    """The other worker stands still, so that every connection is this one's."""
    settings = {"SERVER__WORKERS": "2", "SERVER__MAX_CONCURRENCY": "64"}
    stack.fresh(default=Reply(text="The lamp is lit at dusk [1].", delay=0.05))
    with stack.process(program=("-m", "server"), forked=False, **settings) as process:

        def ask(_: int) -> int:
            with fresh(process) as http:
                return http.post("/query", json=BODY).status_code

        other = workers(process)[0]
        other.suspend()
        try:
            with ThreadPoolExecutor(60) as pool:
                assert Counter(pool.map(ask, range(60))) == {200: 60}
        finally:
            other.resume()


def test_256_clients_at_once_are_all_answered(stack, server):
    until(lambda: len(workers(server)) == 2)
    stack.fresh(default=Reply(text="The lamp is lit at dusk [1]."))

    def ask(_: int) -> int:
        with fresh(server) as http:
            return http.post("/query", json=BODY).status_code

    with ThreadPoolExecutor(256) as pool:
        assert Counter(pool.map(ask, range(256))) == {200: 256}


def test_connections_that_come_at_once_are_shared_by_the_workers(server):
    until(lambda: len(workers(server)) == 2)
    address = urlsplit(server.url)

    def accepted() -> list[int]:
        mine = [each.net_connections("tcp") for each in workers(server)]
        return [sum(each.status == "ESTABLISHED" and each.laddr.port == address.port for each in one) for one in mine]

    until(lambda: accepted() == [0, 0])
    with ExitStack() as kept:
        for _ in range(200):
            kept.enter_context(socket.create_connection((address.hostname, address.port)))
        until(lambda: sum(accepted()) == 200)
        assert min(accepted()) >= 50


def test_a_conversation_goes_on_whoever_is_asked(stack, server):
    until(lambda: len(workers(server)) == 2)
    stack.fresh(default=Reply(text="The lamp is lit at dusk [1].", delay=0.02))
    with fresh(server) as http:
        conversation = http.post("/chat", json={"message": "When is the lamp lit?"}).json()["conversation_id"]
    for number in range(6):
        with fresh(server) as http:
            body = {"message": f"And on day {number}?", "conversation_id": conversation}
            assert http.post("/chat", json=body).status_code == 200
    with fresh(server) as http:
        messages = http.get(f"/conversations/{conversation}").json()["messages"]
    assert [message["state"] for message in messages] == ["complete"] * 14

    def ask(_: int) -> int:
        with fresh(server) as http:
            return http.post("/chat", json={"message": "And now?", "conversation_id": conversation}).status_code

    stack.fresh(default=Reply(text="one two three four five [1].", delay=0.2))
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(ask, range(8)))
    assert statuses == {200: 1, 409: 7}  # one turn at a time, on all workers


def test_a_signal_to_every_process_at_once_lets_streams_end(stack):
    """As service managers do it, which know nothing of a supervisor."""
    stack.fresh(default=Reply(text="one two three four five six seven eight", delay=0.2))
    with stack.process(program=("-m", "server"), forked=False, SERVER__WORKERS="2") as process:
        with fresh(process) as http, http.stream("POST", "/query/stream", json=BODY) as response:
            pieces = response.iter_text()
            seen = next(pieces)
            for child in workers(process):
                child.send_signal(signal.SIGTERM)
            process.popen.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            for child in workers(process):
                child.send_signal(signal.SIGTERM)
            events = parse(seen + "".join(pieces))
        code, said = process.ended()
    assert ending(events).name == "done"
    assert "eight" in texts(events)
    assert code == 0, said


@pytest.mark.local_model
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_local_model_runs_once_and_ends_with_the_server(stack):
    settings = {"SERVER__WORKERS": "2", "LLM__PROVIDER": "local", "LLM__TOKEN_TIMEOUT": "120"}
    with stack.process(program=("-m", "server"), forked=False, **settings) as process:

        def llamas() -> list[psutil.Process]:
            children = psutil.Process(process.popen.pid).children(recursive=True)
            return [child for child in children if "llama-server" in child.name()]

        def is_ready() -> bool:
            with fresh(process) as http:
                return bool(http.get("/ready").json()["dependencies"]["model"]["ok"])

        def ask(_: int) -> int:
            with fresh(process) as http:
                return http.post("/query", json=BODY | {"max_tokens": 8}).status_code

        until(is_ready, seconds=120)
        (first,) = llamas()
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(ask, range(4))) == {200}
        first.kill()
        until(lambda: not is_ready())
        until(is_ready, seconds=120)
        for _ in range(6):
            assert ask(0) == 200  # each worker has learned its new address
        (second,) = llamas()
        process.popen.kill()
        process.popen.wait(PATIENCE)
    assert not psutil.wait_procs([first, second], timeout=PATIENCE)[1]


def test_all_of_it_ends_with_the_server_and_the_log_says_which_signals_came(stack, tmp_path):
    log = tmp_path / "log"
    with stack.process(
        program=("-m", "server"), forked=False, SERVER__WORKERS="2", LOG__FILE=str(log), LOG__FORMAT="json"
    ) as process:
        children = workers(process)
        assert len(children) == 2
        for number in (signal.SIGHUP, signal.SIGTERM):
            process.popen.send_signal(number)
            until(lambda number=number: number.name in log.read_text())
        assert process.popen.wait(PATIENCE) == 0
    told = [
        (line["event"], line["signal"]) for line in map(json.loads, log.read_text().splitlines()) if "signal" in line
    ]
    assert told == [("reloading", "SIGHUP"), ("stopping", "SIGTERM")]
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_workers_end_with_a_supervisor_that_is_killed(stack):
    with stack.process(program=("-m", "server"), forked=False, SERVER__WORKERS="2") as process:
        children = workers(process)
        process.popen.kill()
        process.popen.wait(PATIENCE)
    assert not psutil.wait_procs(children, timeout=PATIENCE)[1]


def test_a_worker_that_cannot_start_stops_the_server_and_says_why_once(stack):
    settings = {"SERVER__WORKERS": "2", "LLM__PROMPT": "/nowhere/at/all.toml"}
    with (
        pytest.raises(AssertionError) as told,
        stack.process(program=("-m", "server"), forked=False, **settings),
    ):
        pass
    assert str(told.value).count("footnote: FOOTNOTE_LLM__PROMPT") == 1
    assert "Traceback" not in str(told.value)


def test_a_worker_that_stands_still_is_replaced(stack):
    with stack.process(
        program=("-m", "server"), forked=False, SERVER__WORKERS="2", SERVER__HANG_TIMEOUT="3"
    ) as process:
        stopped, *_ = workers(process)
        stopped.suspend()
        until(lambda: not stopped.is_running())
        until(lambda: len(workers(process)) == 2 and _serving(process) == "2 of 2")


def _serving(process: Process) -> str:
    with fresh(process) as http:
        return str(http.get("/ready").json()["dependencies"]["workers"]["detail"])
