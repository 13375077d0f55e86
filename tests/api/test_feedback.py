"""Feedback as clients send it, over a scripted runtime."""

from __future__ import annotations

import json

import pytest
from support.scripted import Connect, Logged, Make, Serve

from server.api.schemas.feedback import FeedbackBody

JSON = {"content-type": "application/json"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = {"trace_id": TRACE, "rating": "up"}


async def test_a_rating_is_created_listed_and_deleted(scripted: Make, client: Connect):
    async with client(scripted().app) as http:
        made = await http.post("/feedback", json=GOOD | {"comment": "as it is", "question": "q", "document_ids": ["d"]})
        listed = (await http.get("/feedback", params={"rating": "up"})).json()
        others = (await http.get("/feedback", params={"rating": "down"})).json()
        deleted = [(await http.delete(f"/feedback/{made.json()['id']}")).status_code for _ in range(2)]
    assert made.status_code == 201
    assert set(made.json()) == {"id", "trace_id", "rating", "created_at", "updated_at"}
    assert (listed["items"][0]["comment"], listed["items"][0]["document_ids"]) == ("as it is", ["d"])
    assert listed["next_cursor"] is None
    assert others["items"] == []
    assert deleted == [204, 404]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trace_id": None}, "trace_id"),
        ({"trace_id": 7}, "trace_id"),
        ({"trace_id": ""}, "trace_id"),
        ({"trace_id": "0" * 32}, "trace_id"),
        ({"trace_id": TRACE.upper()}, "trace_id"),
        ({"trace_id": TRACE + "\n"}, "trace_id"),
        ({"trace_id": TRACE[:-1]}, "trace_id"),
        ({"trace_id": TRACE + "0"}, "trace_id"),
        ({"trace_id": "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"}, "trace_id"),
        ({"trace_id": "٤" * 32}, "trace_id"),
        ({"trace_id": "'; DROP TABLE footnote.feedback; --"}, "trace_id"),
        ({"rating": None}, "rating"),
        ({"rating": 1}, "rating"),
        ({"rating": True}, "rating"),
        ({"rating": "UP"}, "rating"),
        ({"rating": "sideways"}, "rating"),
        ({"comment": 7}, "comment"),
        ({"comment": ["a"]}, "comment"),
        ({"comment": "a\0b"}, "comment"),
        ({"comment": "x" * 4001}, "comment"),
        ({"comment": "x" * 900_000}, "comment"),
        ({"question": "x" * 8001}, "question"),
        ({"question": "a\0b"}, "question"),
        ({"answer": "x" * 32_001}, "answer"),
        ({"answer": {}}, "answer"),
        ({"document_ids": "a"}, "document_ids"),
        ({"document_ids": ["a"] * 101}, "document_ids"),
        ({"document_ids": ["a" * 513]}, "document_ids.0"),
        ({"document_ids": ["a\0"]}, "document_ids.0"),
        ({"document_ids": [""]}, "document_ids.0"),
        ({"collection": "../etc"}, "collection"),
        ({"tenant_id": "other"}, "tenant_id"),
        ({"id": "5f0c9c0e-7d0b-4e57-9f0e-1f6a2f4d3c11"}, "id"),
    ],
)
async def test_an_invalid_value_is_a_422_that_names_its_field_and_keeps_nothing(
    scripted: Make, client: Connect, change: dict[str, object], field: str
):
    made = scripted()
    async with client(made.app) as http:
        response = await http.post("/feedback", content=json.dumps(GOOD | change), headers=JSON)
        listed = (await http.get("/feedback")).json()
    assert response.status_code == 422, response.text
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert len(response.content) < 2000
    assert listed["items"] == []


@pytest.mark.parametrize("missing", ["trace_id", "rating"])
async def test_trace_and_rating_are_required(scripted: Make, client: Connect, missing: str):
    async with client(scripted().app) as http:
        response = await http.post("/feedback", json={name: GOOD[name] for name in GOOD if name != missing})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, missing)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b"{", 400),
        (b'{"trace_id": "\xff"}', 400),
        (json.dumps(GOOD | {"comment": "half \ud83d a pair"}).encode(), 400),
        (b"[" * 100_000, 400),
        (json.dumps(GOOD).encode()[:-1] + b', "comment": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", 400),
        (json.dumps(GOOD | {f"unknown-{n}": n for n in range(1000)}).encode(), 400),
        (json.dumps(GOOD | {"comment": "x" * 1_100_000}).encode(), 413),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_short_problem(
    scripted: Make, client: Connect, content: bytes, status: int
):
    async with client(scripted().app) as http:
        response = await http.post("/feedback", content=content, headers=JSON)
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) < 2000


async def test_the_longest_texts_that_are_allowed_are_taken(scripted: Make, client: Connect):
    longest = {
        "comment": "😀" * 4000,
        "question": "😀" * 8000,
        "answer": "😀" * 32_000,
        "document_ids": ["x" * 512] * 100,
    }
    async with client(scripted().app) as http:
        assert (await http.post("/feedback", json=GOOD | longest)).status_code == 201


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("rating=sideways", "rating"),
        ("cursor=%00", "cursor"),
        ("cursor=nope", "cursor"),
        ("cursor=bm9wZQ", "cursor"),
        ("colour=red", "colour"),
    ],
)
async def test_a_list_that_cannot_be_is_a_422(scripted: Make, client: Connect, query: str, field: str):
    async with client(scripted().app) as http:
        response = await http.get(f"/feedback?{query}")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)


def test_a_comment_is_in_no_log(scripted: Make, serve: Serve, logged: Logged):
    import httpx

    with serve(scripted().app) as server:
        sent = GOOD | {"comment": "MARKED-SECRET", "question": "MARKED-SECRET", "answer": "MARKED-SECRET"}
        assert httpx.post(f"{server.url}/feedback", json=sent).status_code == 201
        assert httpx.post(f"{server.url}/feedback", json=sent | {"rating": "MARKED-SECRET"}).status_code == 422
    lines = logged()
    assert [line for line in lines if line.get("route") == "/feedback"]
    assert "MARKED-SECRET" not in json.dumps(lines)


def test_the_examples_of_a_request_are_valid():
    examples = FeedbackBody.model_config["json_schema_extra"]["examples"]
    assert len(examples) == 2
    for example in examples:
        FeedbackBody.model_validate(example)
