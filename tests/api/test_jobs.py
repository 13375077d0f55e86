"""Jobs over HTTP: real ones in a database, and their streams on a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from support.events import ending, parse
from support.scripted import Make, Serve
from support.scripted_documents import DEAD_JOB, DONE_JOB
from support.stack import Stack, StackClient, open_stack, until

from storage.errors import StoreUnavailable
from storage.jobs.jobs import JobError

RUNNING = replace(DONE_JOB, status="running", finished_at=None, result=None, done=0)


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as made:
        yield made


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[StackClient]:
    with stack.serve(server={"ping_interval": 0.3}) as client:
        yield client


def submit(http: httpx.Client, name: str = "a.md") -> str:
    return str(http.post("/documents", files={"file": (name, b"text")}).raise_for_status().json()["job_id"])


def change(stack: Stack, job_id: str, what: str, *values: object) -> None:
    """Do to a job's row what a worker would."""
    assert stack.rows(f"UPDATE footnote.jobs SET {what} WHERE id = %s RETURNING id", *values, job_id)


def fail(stack: Stack, job_id: str, error: dict[str, object]) -> None:
    change(stack, job_id, "status = 'failed', run = NULL, finished_at = now(), error = %s", json.dumps(error))


def test_a_job_has_the_fields_of_the_contract(http: StackClient) -> None:
    job = http.get(f"/jobs/{submit(http)}").json()
    assert {
        "id", "kind", "collection", "document_id", "status", "progress", "error", "result", "attempts", "created_at",
        "started_at", "source", "finished_at", "next_try_at",
    } <= set(job)  # fmt: skip
    assert (job["status"], job["progress"], job["attempts"]) == ("queued", {"done": 0, "total": None}, 0)
    assert job["source"] == "a.md"
    assert "arguments" not in job


def test_a_failed_job_names_its_file_and_one_without_a_document_names_none(stack: Stack, http: StackClient) -> None:
    failed = submit(http, "damaged.md")
    fail(stack, failed, {"name": "invalid-request", "detail": "not read"})
    assert http.get(f"/jobs/{failed}").json()["source"] == "damaged.md"
    other = submit(http, "other.md")
    change(stack, other, "kind = 'catch-up', document_id = NULL, arguments = '{\"generation\": \"1\"}'")
    assert http.get(f"/jobs/{other}").json()["source"] is None


def test_a_job_that_is_not_there_is_a_404(http: StackClient) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/retry"), ("POST", "/cancel")):
        response = http.request(method, f"/jobs/{uuid4()}{path}")
        assert (response.status_code, response.json()["type"]) == (404, "/problems/job-not-found")
    assert http.get("/jobs/nonsense").status_code == 422


def test_jobs_are_listed_page_by_page_and_by_what_they_are(stack: Stack, http: StackClient) -> None:
    made = [submit(http, f"list-{n}.md") for n in range(5)]
    change(stack, made[0], "status = 'succeeded', finished_at = now(), result = '{\"chunks\": 3}'")
    seen: list[str] = []
    cursor = None
    while True:
        page = http.get("/jobs", params={"limit": 2, "collection": "default", **({"cursor": cursor} if cursor else {})})
        seen += [job["id"] for job in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert seen[:5] == made[::-1]
    assert len(seen) == len(set(seen))
    done = http.get("/jobs", params={"status": "succeeded"}).json()["items"]
    assert [job["id"] for job in done] == [made[0]]
    assert done[0]["result"] == {"chunks": 3}
    assert http.get("/jobs", params={"collection": "other"}).json() == {"items": [], "next_cursor": None}
    assert http.get("/jobs", params={"status": "lost"}).status_code == 422
    assert http.get("/jobs", params={"cursor": "lost"}).status_code == 422


@pytest.mark.parametrize(
    ("name", "status", "slug"),
    [
        ("invalid-request", 422, "invalid-request"),
        ("fetch-failed", 502, "fetch-failed"),
        ("deadline-exceeded", 504, "deadline-exceeded"),
        ("internal", 500, "internal"),
        ("Unreadable", 422, "invalid-request"),  # as rows were written before errors had slugs
        ("FetchFailed", 502, "fetch-failed"),
        ("JobTimedOut", 504, "deadline-exceeded"),
        ("StoreRefused", 503, "store-unavailable"),
        ("OfAnotherVersion", 500, "internal"),
    ],
)
def test_a_dead_job_tells_its_problem(stack: Stack, http: StackClient, name: str, status: int, slug: str) -> None:
    job_id = submit(http)
    fail(stack, job_id, {"name": name, "detail": "the reason"})
    problem = http.get(f"/jobs/{job_id}").json()["error"]
    assert (problem["type"], problem["status"], problem["detail"]) == (f"/problems/{slug}", status, "the reason")


def test_a_dead_job_is_repeated_by_one_call(stack: Stack, http: StackClient) -> None:
    job_id = submit(http, "repeat.md")
    refused = http.post(f"/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/job-not-retryable")
    fail(stack, job_id, {"name": "model-unavailable", "detail": "boom"})
    assert http.get(f"/jobs/{job_id}").json()["status"] == "failed"
    repeated = http.post(f"/jobs/{job_id}/retry")
    assert repeated.status_code == 202
    assert (repeated.json()["id"], repeated.json()["status"], repeated.json()["error"]) == (job_id, "queued", None)


def test_a_job_is_cancelled_and_stays_so(http: StackClient) -> None:
    job_id = submit(http, "cancel.md")
    assert http.post(f"/jobs/{job_id}/cancel").json()["status"] == "cancelled"
    again = http.post(f"/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_the_stream_of_a_job_tells_its_way_to_the_end(stack: Stack, http: StackClient) -> None:
    job_id = submit(http, "watched.md")

    def work() -> None:
        time.sleep(0.8)
        change(
            stack, job_id, "status = 'running', run = gen_random_uuid(), started_at = now(), attempts = 1, total = 9"
        )
        time.sleep(1.2)
        change(stack, job_id, "done = 4")
        time.sleep(1.2)
        change(stack, job_id, "status = 'succeeded', run = NULL, finished_at = now(), done = 9, result = '{\"x\": 1}'")

    worker = threading.Thread(target=work)
    worker.start()
    response = http.get(f"/jobs/{job_id}/events")
    worker.join()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    events = parse(response.text)
    last = ending(events)
    assert (last.name, last.id, last.data["status"], last.data["result"]) == ("done", "end", "succeeded", {"x": 1})
    told = [(event.id, event.data["status"], event.data["progress"]["done"]) for event in events[:-2]]
    assert told == [("1", "queued", 0), ("2", "running", 0), ("3", "running", 4)]
    assert ": ping" in response.text


def test_the_stream_of_a_job_that_has_ended_is_its_end(http: StackClient) -> None:
    job_id = submit(http, "ended.md")
    http.post(f"/jobs/{job_id}/cancel")
    events = parse(http.get(f"/jobs/{job_id}/events").text)
    assert len(events) == 2
    assert (ending(events).name, ending(events).data["status"]) == ("done", "cancelled")
    assert http.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": "end"}).status_code == 204


def test_the_stream_of_a_dead_job_ends_with_its_problem(stack: Stack, http: StackClient) -> None:
    job_id = submit(http, "dead.md")
    fail(stack, job_id, {"name": "Unreadable", "detail": "a scanned PDF without text"})
    last = ending(parse(http.get(f"/jobs/{job_id}/events").text))
    assert (last.name, last.data["type"]) == ("error", "/problems/invalid-request")
    assert (last.data["detail"], last.data["retryable"]) == ("a scanned PDF without text", False)
    assert (last.data["job"]["id"], last.data["job"]["status"]) == (job_id, "failed")


def test_a_watch_that_the_database_breaks_ends_with_a_problem_that_can_be_tried_again(
    scripted: Make, serve: Serve
) -> None:
    made = scripted()
    made.runtime.jobs.steps = [RUNNING, StoreUnavailable("the database is not available")]
    with serve(made.app) as server:
        events = parse(httpx.get(f"{server.url}/jobs/{DONE_JOB.id}/events").text)
    assert [event.name for event in events] == ["progress", "error", None]
    assert (ending(events).data["type"], ending(events).data["retryable"]) == ("/problems/store-unavailable", True)
    assert made.runtime.watchers.count == 0


def test_a_defect_while_watching_tells_nothing_but_the_request_id(scripted: Make, serve: Serve) -> None:
    made = scripted()
    made.runtime.jobs.steps = [RUNNING, ZeroDivisionError("secret")]
    with serve(made.app) as server:
        text = httpx.get(f"{server.url}/jobs/{DONE_JOB.id}/events").text
    assert ending(parse(text)).data["type"] == "/problems/internal"
    assert "secret" not in text


class Never:
    """A step that nothing follows."""

    def __init__(self) -> None:
        self.was_cancelled = threading.Event()
        self.waits = threading.Event()

    async def wait(self) -> None:
        self.waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise


def test_a_watch_ends_when_its_client_leaves(scripted: Make, serve: Serve) -> None:
    made = scripted()
    step = Never()
    made.runtime.jobs.steps = [RUNNING, step]
    with serve(made.app) as server:
        with httpx.stream("GET", f"{server.url}/jobs/{DONE_JOB.id}/events") as response:
            pieces = response.iter_text()
            assert next(pieces).startswith("id: 1")
            assert step.waits.wait(5)
        assert step.was_cancelled.wait(5)
        until(lambda: made.runtime.watchers.count == 0)


def test_more_watchers_than_there_are_places_for_get_a_503(scripted: Make, serve: Serve) -> None:
    made = scripted()
    made.runtime.jobs.steps = [RUNNING, Never()]
    made.runtime.watchers.most = 1
    with serve(made.app) as server, httpx.stream("GET", f"{server.url}/jobs/{DONE_JOB.id}/events") as response:
        pieces = response.iter_text()  # which closes the connection when it goes away
        next(pieces)
        refused = httpx.get(f"{server.url}/jobs/{DONE_JOB.id}/events")
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
    assert refused.headers["retry-after"] == "5"


def test_the_bound_of_watchers_is_the_setting(stack: Stack) -> None:
    with stack.serve(server={"max_watchers": 1}) as http:
        job_id = submit(http, "many.md")
        with http.stream("GET", f"/jobs/{job_id}/events") as response:
            pieces = response.iter_text()
            next(pieces)
            assert http.get(f"/jobs/{job_id}/events").status_code == 503
        until(lambda: http.get("/jobs").status_code == 200)
        http.post(f"/jobs/{job_id}/cancel")
        until(lambda: http.get(f"/jobs/{job_id}/events").status_code == 200)


def test_a_server_that_stops_tells_its_watchers_at_once(scripted: Make, serve: Serve) -> None:
    made = scripted(shutdown_timeout=20)
    made.runtime.jobs.steps = [RUNNING, Never()]
    with serve(made.app) as server, httpx.stream("GET", f"{server.url}/jobs/{DONE_JOB.id}/events") as response:
        pieces = response.iter_text()
        text = next(pieces)
        began = time.monotonic()
        server.stop()
        text += "".join(pieces)
        assert time.monotonic() - began < 15  # and not when the others' time to end is over
    assert ending(parse(text)).data["type"] == "/problems/overloaded"
    assert ending(parse(text)).data["retryable"] is True


def test_a_watcher_that_reads_nothing_is_let_go(scripted: Make, serve: Serve) -> None:
    made = scripted(streams={"write_timeout": 0.5})
    heavy = replace(RUNNING, error=JobError("invalid-request", "x" * 900), request_id="r" * 100)
    made.runtime.jobs.steps = [replace(heavy, done=n) for n in range(20_000)]
    with serve(made.app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET /jobs/{DONE_JOB.id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: made.runtime.watchers.count == 1)
        until(lambda: made.runtime.watchers.count == 0)


def test_a_scripted_dead_job_is_told_with_its_trace(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        job = httpx.get(f"{server.url}/jobs/{DEAD_JOB.id}").json()
    assert job["trace_id"] == job["error"]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (job["request_id"], job["error"]["request_id"]) == ("r1", "r1")
