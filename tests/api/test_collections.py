"""Collections and generations over HTTP, the real services and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import httpx
import pytest
from support.indexed import index
from support.stack import Stack, StackClient, open_stack

from config.settings import DatabaseSettings
from storage.collections.collections import Collections
from storage.collections.generations import Generations
from storage.database import Database
from storage.generation import Chunking


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as made:
        yield made


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[StackClient]:
    with stack.serve() as client:
        yield client


def refused(response: httpx.Response, status: int, slug: str, field: str | None = None) -> str:
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"/problems/{slug}"
    if field is not None:
        assert [error["field"] for error in response.json()["errors"]] == [field]
    return str(response.json()["detail"])


def in_database(stack: Stack, work: Any) -> Any:
    """Run a coroutine function with a database of its own, in a thread of its own: this one's loop is pytest's."""

    async def run() -> Any:
        database = await Database.open(stack.dsn, settings=DatabaseSettings())
        try:
            return await work(database)
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, run()).result()


def build(stack: Stack, collection: str, *, finished: bool = True) -> str:
    """Build a generation, which is empty, beside the one that answers; return its name."""

    async def work(database: Database) -> str:
        active = await Collections(database).active(collection)
        generations = Generations(database)
        async with generations.building(active):
            chunking = Chunking(tokens=64, overlap=8, language="english")
            made = await generations.begin(
                active, embedding=active.embedding, chunking=chunking, fingerprint="f", resume=False
            )
            if finished:
                await generations.finish(made, report={"documents": 0})
        return made.name

    return str(in_database(stack, work))


def test_a_collection_is_made_as_the_settings_say(http: StackClient) -> None:
    made = http.post("/collections", json={"name": "plain"})
    assert made.status_code == 201
    assert made.headers["location"] == "/collections/plain"
    assert made.json() == http.get("/collections/plain").json()
    told = {key: made.json()[key] for key in ("generation", "documents", "language", "chunk_tokens", "embedding_model")}
    assert told == {
        "generation": "1", "documents": 0, "language": "english", "chunk_tokens": 256,
        "embedding_model": "all-MiniLM-L6-v2",
    }  # fmt: skip
    refused(http.post("/collections", json={"name": "plain"}), 409, "already-exists")


def test_a_collection_is_made_as_the_request_says(stack: Stack, http: StackClient) -> None:
    asked = {"name": "custom", "language": "german", "chunk_tokens": 100, "chunk_overlap": 0}
    assert http.post("/collections", json=asked).status_code == 201
    rows = stack.rows(
        "SELECT language, chunk_tokens, chunk_overlap FROM footnote.generations g "
        "JOIN footnote.collections c ON c.id = g.collection_id WHERE c.name = 'custom'"
    )
    assert rows == [("german", 100, 0)]


@pytest.mark.parametrize(
    "asked",
    [
        {"name": "Upper"}, {"name": "../x"}, {"name": ""}, {"name": "x" * 64}, {}, {"name": "y", "more": 1},
        {"name": "y", "language": "klingon"}, {"name": "y", "language": "x'; --"}, {"name": "y", "chunk_tokens": 8},
        {"name": "y", "chunk_tokens": 300}, {"name": "y", "chunk_tokens": "100"},
        {"name": "y", "chunk_tokens": 100, "chunk_overlap": 60}, {"name": "y", "chunk_overlap": -1},
    ],
)  # fmt: skip
def test_a_collection_that_cannot_be_made_is_a_422(http: StackClient, asked: dict[str, object]) -> None:
    refused(http.post("/collections", json=asked), 422, "invalid-request")
    assert "y" not in [item["name"] for item in http.get("/collections").json()["items"]]


def test_a_deleted_collection_answers_no_more_and_its_jobs_are_cancelled(stack: Stack, http: StackClient) -> None:
    in_database(stack, lambda database: index(database, stack.embedder, {"a.md": "The lamp is lit."}, "doomed"))
    question = {"question": "Is the lamp lit?", "collection": "doomed"}
    assert http.post("/retrieve", json=question).json()["results"]
    files = {"file": ("b.md", b"text")}
    job = http.post("/documents", files=files, data={"collection": "doomed"}).headers["location"]
    gone = http.delete("/collections/doomed")
    assert (gone.status_code, gone.content) == (204, b"")
    refused(http.post("/retrieve", json=question), 404, "collection-not-found")
    refused(http.get("/collections/doomed"), 404, "collection-not-found")
    refused(http.post("/documents", files=files, data={"collection": "doomed"}), 404, "collection-not-found")
    assert http.get(job).json()["status"] == "cancelled"
    refused(http.delete("/collections/doomed"), 404, "collection-not-found")


def test_a_collection_says_which_generation_is_being_built(stack: Stack, http: StackClient) -> None:
    assert http.post("/collections", json={"name": "built"}).json()["building"] is None
    name = build(stack, "built", finished=False)
    assert http.get("/collections/built").json()["building"] == name == "2"
    (found,) = [each for each in http.get("/collections?limit=1000").json()["items"] if each["name"] == "built"]
    assert (found["building"], found["generation"]) == ("2", "1")


def test_generations_are_listed_the_newest_first(stack: Stack, http: StackClient) -> None:
    http.post("/collections", json={"name": "listed"})
    build(stack, "listed")
    items = http.get("/collections/listed/generations").json()["items"]
    assert [(item["name"], item["state"], item["chunk_tokens"]) for item in items] == [
        ("2", "ready", 64),
        ("1", "active", 256),
    ]
    assert items[0]["report"] == {"documents": 0}
    assert all(item["bytes"] > 0 for item in items)  # an empty table has its indexes
    page = http.get("/collections/listed/generations", params={"limit": 1}).json()
    second = http.get("/collections/listed/generations", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert ([item["name"] for item in second["items"]], second["next_cursor"]) == (["1"], None)
    refused(http.get("/collections/nope/generations"), 404, "collection-not-found")


def test_an_activated_generation_answers_at_once_and_going_back_is_the_same(stack: Stack, http: StackClient) -> None:
    in_database(stack, lambda database: index(database, stack.embedder, {"a.md": "The lamp is lit."}, "flipped"))
    question = {"question": "Is the lamp lit?", "collection": "flipped"}
    assert http.post("/retrieve", json=question).json()["generation"] == "1"
    build(stack, "flipped")
    for target, before in (("2", "1"), ("1", "2")):
        done = http.post("/collections/flipped/activate", json={"generation": target})
        assert done.status_code == 200, done.text
        body = done.json()
        assert (body["collection"], body["generation"], body["before"]) == ("flipped", target, before)
        assert http.post("/retrieve", json=question).json()["generation"] == target
        job = http.get(f"/jobs/{body['job_id']}").json()
        assert (job["kind"], job["collection"], job["status"]) == ("catch-up", "flipped", "queued")
        rows = stack.rows("SELECT arguments, lock FROM footnote.jobs WHERE id = %s", body["job_id"])
        assert rows[0][0] == {"generation": before}
        assert rows[0][1].endswith("catch-up")


def test_activating_what_answers_changes_nothing_but_may_catch_up(stack: Stack, http: StackClient) -> None:
    http.post("/collections", json={"name": "same"})
    done = http.post("/collections/same/activate", json={"generation": "1"}).json()
    assert (done["generation"], done["before"], done["job_id"]) == ("1", "1", None)
    build(stack, "same")
    http.post("/collections/same/activate", json={"generation": "2"})
    again = http.post("/collections/same/activate", json={"generation": "2"}).json()
    assert (again["before"], again["generation"]) == ("2", "2")
    rows = stack.rows("SELECT arguments FROM footnote.jobs WHERE id = %s", again["job_id"])
    assert rows[0][0] == {"generation": "1"}


@pytest.mark.parametrize("name", ["99", "abc", "0", "1; DROP", "٣"])
def test_a_generation_that_is_not_there_is_a_422(http: StackClient, name: str) -> None:
    refused(http.post("/collections/default/activate", json={"generation": name}), 422, "invalid-request", "generation")


def test_a_generation_that_is_not_built_is_a_409(stack: Stack, http: StackClient) -> None:
    http.post("/collections", json={"name": "unfinished"})
    name = build(stack, "unfinished", finished=False)
    refused(http.post("/collections/unfinished/activate", json={"generation": name}), 409, "generation-not-ready")
    refused(http.post("/collections/nope/activate", json={"generation": "1"}), 404, "collection-not-found")
    assert http.get("/collections/unfinished").json()["generation"] == "1"
