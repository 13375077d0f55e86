"""`GET /documents`: in each order page by page, and what `q` leaves, over a real database."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import httpx
import pytest
from support.databases import in_database
from support.indexed import index
from support.stack import open_stack

from storage.cursors import encode_cursor
from storage.documents.order import SORTS

TEXTS = {
    "b/Harbour.md": "The harbour is deep.",
    "a/harbour_100%.md": "The harbour again, in a longer text than the first.",
    "Ängström.md": "Light.",
    "z.md": "The end.",
    "a/!mole.md": "A mole.",
}


@pytest.fixture(scope="module")
def http(databases, shared_dir, embedder):
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as stack:
        in_database(stack.dsn, lambda database: index(database, embedder, TEXTS, "listed"))
        with stack.serve() as client:
            yield client


def listed(http: httpx.Client, **asked: object) -> list[dict[str, Any]]:
    found, cursor = [], None
    for _ in range(20):
        page = http.get(
            "/documents", params={"collection": "listed", **asked, **({"cursor": cursor} if cursor else {})}
        )
        assert page.status_code == 200, page.text
        found += page.json()["items"]
        if (cursor := page.json()["next_cursor"]) is None:
            return found
    raise AssertionError


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_each_order_has_each_document_once_page_by_page(http, sort, limit):
    found = listed(http, sort=sort, limit=limit)
    column = sort.removeprefix("-")
    assert {each["source"] for each in found} == set(TEXTS)
    assert len(found) == len(TEXTS)
    values = [(each[column].encode() if isinstance(each[column], str) else each[column]) for each in found]
    assert all((one >= other) if sort.startswith("-") else (one <= other) for one, other in pairwise(values))


@pytest.mark.parametrize(
    ("q", "sources"),
    [
        ("harbour", {"b/Harbour.md", "a/harbour_100%.md"}),
        ("HARBOUR_1", {"a/harbour_100%.md"}),
        ("%", {"a/harbour_100%.md"}),
        ("_", {"a/harbour_100%.md"}),
        ("!", {"a/!mole.md"}),
        ("ängström", {"Ängström.md"}),
        ("\\", set()),
        ("' OR 1=1 --", set()),
    ],
)
def test_q_is_looked_for_as_it_is_written_in_whatever_case(http, q, sources):
    assert {each["source"] for each in listed(http, q=q, limit=1, sort="-source")} == sources


@pytest.mark.parametrize(
    "asked", [{"sort": "metadata"}, {"sort": "--id"}, {"q": ""}, {"q": "a\0b"}, {"q": "x" * 1001}, {"sort": "id; DROP"}]
)
def test_what_is_no_order_and_no_text_is_refused(http, asked):
    assert http.get("/documents", params={"collection": "listed", **asked}).status_code == 422


@pytest.mark.parametrize("sort", ["id", "source", "-bytes", "ingested_at"])
def test_a_cursor_of_another_order_is_refused_and_forged_ones_fail_nothing(http, sort):
    first = http.get("/documents", params={"collection": "listed", "limit": 1, "sort": "title"}).json()["next_cursor"]
    forged = ["WyJzb3VyY2UiXQ", "bnVsbA", "WzEsMiwzXQ", "W1siYnl0ZXMiXSwieCIsInkiXQ", "WyItYnl0ZXMiLCJ4IiwieSJd"]
    for cursor in [first, *forged]:
        answer = http.get("/documents", params={"collection": "listed", "sort": sort, "cursor": cursor})
        assert answer.status_code in ({200, 422} if sort == "id" else {422}), answer.text


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        ("source", "\ud800"),
        ("source", "a\0b"),
        ("ingested_at", "0001-01-01T00:00:00+23:59"),
        ("ingested_at", "9999-12-31T23:59:59-23:59"),
        ("bytes", "٣" * 30),
    ],
)
def test_a_cursor_with_what_the_database_cannot_read_is_refused(http, sort, value):
    cursor = encode_cursor(json.dumps([sort, value, "some-id"]))
    answer = http.get("/documents", params={"collection": "listed", "sort": sort, "cursor": cursor})
    assert answer.status_code == 422, answer.text


def test_a_documents_chunks_are_listed_with_their_places(http):
    (document,) = listed(http, q="z.md")
    page = http.get(f"/documents/{document['id']}/chunks", params={"collection": "listed"}).json()
    ((chunk,), text) = page["items"], TEXTS["z.md"]
    assert (chunk["text"], chunk["start"], chunk["end"], chunk["chunk_index"]) == (text, 0, len(text), 0)
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("nobody", {}, 404),
        ("{}", {"collection": "nowhere"}, 404),
        ("{}", {"cursor": "eA"}, 422),
        ("{}", {"limit": 0}, 422),
    ],
)
def test_chunks_of_nothing_are_refused(http, path, asked, status):
    (document,) = listed(http, q="z.md")
    answer = http.get(f"/documents/{path.format(document['id'])}/chunks", params={"collection": "listed", **asked})
    assert answer.status_code == status
