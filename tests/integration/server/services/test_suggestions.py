"""Suggested questions over HTTP: only of documents that whoever asks may read, and of collections that he reaches."""

import contextlib

import pytest
from support.databases import in_database
from support.indexed import index

from server.api.middleware import authentication
from server.principal import SCOPES, Principal
from storage.caller import Caller

ADA, BOB = Caller("public", "ada", ("eng",)), Caller("public", "bob", ("hr",))
TEXTS = {"storage.md": "Cradles are rented.", "pay.md": "Wages are paid monthly.", "plain.txt": "No heading at all."}
HEADINGS = {
    "storage.md": {"heading": "Winter storage > Cradles"},
    "pay.md": {"heading": "Wages > Bonus of the director"},
}
CRADLES = "What do the documents say about “Cradles”?"
BONUS = "What do the documents say about “Bonus of the director”?"


@pytest.fixture(scope="module")
def http(stack):
    in_database(stack.dsn, lambda database: index(database, stack.embedder, TEXTS, "handbook", metadata=HEADINGS))
    with stack.serve(llm={"provider": "extractive"}) as opened:
        yield opened


def suggested(http, collection="handbook", **params):
    found = http.get(f"/collections/{collection}/suggestions", params=params)
    assert found.status_code == 200, found.text
    return {each["question"]: each for each in found.json()["items"]}


@pytest.fixture
def acting(monkeypatch):
    @contextlib.contextmanager
    def act(who, collections=None):
        with monkeypatch.context() as patched:
            patched.setattr(authentication, "EVERYBODY", Principal(who, frozenset(SCOPES), collections))
            yield

    return act


def test_headings_become_questions_and_are_the_same_each_time(http):
    first = suggested(http)
    assert set(first) == {CRADLES, BONUS}
    assert (first[CRADLES]["heading"], first[CRADLES]["title"]) == ("Cradles", "storage.md")
    assert list(first) == list(suggested(http))
    assert len(suggested(http, limit=1)) == 1


def test_a_document_that_one_may_not_read_suggests_nothing(http, acting):
    document = suggested(http)[BONUS]["document_id"]
    where = {"collection": "handbook"}
    http.put(f"/documents/{document}/readers", params=where, json={"readers": ["group:hr"]}).raise_for_status()
    with acting(ADA):
        assert set(suggested(http)) == {CRADLES}
    with acting(BOB):
        assert set(suggested(http)) == {CRADLES, BONUS}
    with acting(Caller("other", "ada", sees_all=True)):
        assert http.get("/collections/handbook/suggestions").status_code == 404


def test_a_collection_out_of_reach_is_not_there(http, acting):
    with acting(ADA, frozenset({"default"})):
        assert http.get("/collections/handbook/suggestions").status_code == 404
    assert http.get("/collections/nothing/suggestions").status_code == 404
    assert http.get("/collections/handbook/suggestions", params={"limit": 21}).status_code == 422
