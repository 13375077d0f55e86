"""Answers that are given again: only while nothing has changed, and never what is gone."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from support.corpus import document
from support.events import ending
from support.indexed import TEXTS, index
from support.model_server import Reply
from support.rerank_server import Reply as RankReply
from support.rerank_server import start_rerank_server

from config.settings import CacheSettings
from server.answers import Answer, Done, Question, Sources, Token, Usage, collect
from server.caches.answers import AnswerCache
from storage.collections.collections import Collections
from storage.collections.index_versions import IndexVersions
from storage.documents.writes import Documents
from storage.generation import Chunking

QUESTION = "Who built the lighthouse of Ostrava Bay?"
CHUNKING = Chunking(tokens=256, overlap=32, language="english")


@pytest.fixture(scope="module")
def http(stack):
    with stack.serve(cache={"answers": True}) as http:
        yield http


@pytest.fixture(autouse=True)
def _fresh(request):
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").fresh(default=Reply(text="Milada Novak built it [1]."))


def ask(http, question=QUESTION, **body):
    response = http.post("/query", json={"question": question, **body})
    assert response.status_code == 200, response.text
    return response


def test_the_same_question_is_answered_again_without_the_model(stack, http):
    first, second = ask(http, "Same?", min_score=0), ask(http, "Same?", min_score=0)
    assert (first.json()["cached"], second.json()["cached"]) == (False, True)
    assert "cache-status" not in first.headers
    assert second.headers["cache-status"] == "footnote; hit"
    assert len(stack.model.requests) == 1
    told = ("answer", "citations", "sources", "finish_reason", "model", "collection", "generation")
    assert [second.json()[name] for name in told] == [first.json()[name] for name in told]
    counts = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "is_estimate": False}
    assert second.json()["usage"] == counts
    assert second.json()["cost_usd"] == 0
    timings = second.json()["timings_ms"]
    assert timings.pop("total") > 0
    assert set(timings.values()) == {0}
    assert first.json()["request_id"] != second.json()["request_id"]


def test_a_stream_from_the_cache_is_told_and_ends_like_any_other(stack, http):
    fresh = http.events("/query/stream", {"question": "Streamed?", "min_score": 0})
    again = http.events("/query/stream", {"question": "Streamed?", "min_score": 0})
    assert (fresh[0].data["cached"], again[0].data["cached"]) == (False, True)
    assert [event.name for event in again] == ["sources", "token", "done", None]
    assert fresh[0].data["stream_id"] != again[0].data["stream_id"]
    texts = ["".join(event.data["token"] for event in events if event.name == "token") for events in (fresh, again)]
    assert texts[0] == texts[1]
    assert ending(again).data["cited"] == ending(fresh).data["cited"]
    assert len(ending(fresh).data["cited"]) == 1
    assert ask(http, "Streamed?", min_score=0).json()["cached"] is True
    assert len(stack.model.requests) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"question": "Keyed? "},
        {"k": 7},
        {"mode": "keyword"},
        {"min_score": 0.01},
        {"document_ids": ["no-such"]},
        {"filters": {"filters": [{"key": "n", "value": 10}]}},
        {"max_tokens": 99},
        {"max_per_document": 1},
        {"near_duplicates": "keep"},
        {"join_neighbours": True},
        {"rerank": False},
    ],
    ids=str,
)
def test_a_question_with_another_option_is_another_question(http, other):
    body = {"question": "Keyed?", "min_score": 0}
    http.post("/query", json=body)
    assert http.post("/query", json=body).json()["cached"] is True
    if "question" in other:  # what surrounds it does not count, its words do
        other = {"question": "keyed?"}
    assert http.post("/query", json={**body, **other}).json()["cached"] is False


def test_values_of_another_type_are_other_filters(http):
    for value in (10, "10", 1, True, 1.5, "1.5"):
        filters = {"filters": [{"key": "made-up", "value": value, "operator": "!="}]}
        assert ask(http, "Filtered?", min_score=0, filters=filters).json()["cached"] is False
        assert ask(http, "Filtered?", min_score=0, filters=filters).json()["cached"] is True


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        ({"temperature": 0.7}, Reply(text="It may be so [1].")),
        ({}, Reply(text="It goes on and", finish_reason="length")),
        ({"min_score": 1}, Reply()),
        ({}, Reply(text=" ")),
    ],
    ids=["by chance", "cut", "nothing found", "empty"],
)
def test_what_may_be_otherwise_the_next_time_is_not_kept(stack, http, body, reply):
    stack.fresh(default=reply)
    question = f"Not kept {body} {reply.finish_reason} {reply.text}?"
    answers = [http.post("/query", json={"question": question, "min_score": 0, **body}) for _ in range(2)]
    assert not any(answer.json().get("cached", False) for answer in answers)


def test_failures_are_not_kept(stack, http):
    stack.fresh(Reply(fault="server-error"), default=Reply(text="Now it works [1]."))
    assert http.post("/query", json={"question": "Failing?", "min_score": 0}).status_code == 502
    assert ask(http, "Failing?", min_score=0).json()["cached"] is False


def test_a_temperature_of_zero_is_kept(http):
    ask(http, "Cold?", min_score=0, temperature=0)
    assert ask(http, "Cold?", min_score=0, temperature=0).json()["cached"] is True


def test_chats_are_always_answered_anew(stack, http):
    for _ in range(2):
        assert http.post("/chat", json={"message": "Chatting?", "min_score": 0}).json()["cached"] is False
    assert len(stack.model.requests) == 2


def test_answers_are_not_kept_unless_that_is_set(stack):
    with stack.serve() as http:
        for _ in range(2):
            assert ask(http, "Off?", min_score=0).json()["cached"] is False
    assert len(stack.model.requests) == 2


def test_an_answer_whose_reranking_failed_is_not_given_to_others(stack):
    with start_rerank_server() as ranker:
        rerank = {"provider": "jina", "url": ranker.url, "breaker_failures": 0}
        with stack.serve(cache={"answers": True}, rerank=rerank) as http:
            ranker.reply = RankReply(status=500)
            assert [ask(http, "Ranked?", min_score=0).json()["cached"] for _ in range(2)] == [False, False]
            ranker.reply = RankReply()
            assert [ask(http, "Ranked?", min_score=0).json()["cached"] for _ in range(2)] == [False, True]


def test_an_idempotency_key_and_the_cache_go_together(stack, http):
    ask(http, "Keyed and kept?", min_score=0)
    body = {"question": "Keyed and kept?", "min_score": 0}
    kept = [http.post("/query", json=body, headers={"Idempotency-Key": "kept-1"}) for _ in range(2)]
    assert [answer.json()["cached"] for answer in kept] == [True, True]
    assert kept[1].headers["idempotent-replayed"] == "true"
    assert len(stack.model.requests) == 1


# what changes in a collection


@contextlib.asynccontextmanager
async def collection(database, embedder):
    await index(database, embedder)
    generation = await Collections(database).ensure("default", embedding=embedder.identity, chunking=CHUNKING)
    yield generation, Documents(database, generation=generation)


async def test_each_commit_that_changes_what_is_found_changes_the_number(database, embedder):
    async with collection(database, embedder) as (generation, documents):
        versions, seen = IndexVersions(database), []

        async def now():
            seen.append(await versions.of(generation))

        await now()
        await now()
        assert seen[0] == seen[1]
        new = document("new.md", content="one")
        await documents.write(new, [], replaces=None)
        await now()
        state = (await documents.states(["new.md"]))["new.md"]
        await documents.write(document("new.md", content="two"), [], replaces=state)
        await now()
        await documents.delete(new.id)
        await now()
        assert len(set(seen)) == 4
        assert seen == sorted(seen)


async def test_a_document_that_is_sent_again_unchanged_changes_nothing(database, embedder):
    async with collection(database, embedder) as (generation, documents):
        versions = IndexVersions(database)
        before = await versions.of(generation)
        same = document("lighthouse.md", content=TEXTS["lighthouse.md"])
        state = (await documents.states(["lighthouse.md"]))["lighthouse.md"]
        assert await documents.write(replace(same, revision=2**40), [], replaces=state) == "unchanged"
        assert await versions.of(generation) == before


async def test_writers_that_commit_in_another_order_than_they_began_each_change_the_number(database, embedder):
    async with collection(database, embedder) as (generation, _):
        versions = IndexVersions(database)
        before = await versions.of(generation)
        title = "UPDATE footnote.documents SET title = title || '!' WHERE source = $1"
        async with database.transaction() as early:
            await early.execute(title, "bread.md")
            async with database.transaction() as late:
                await late.execute(title, "vacuum.md")
            between = await versions.of(generation)
        after = await versions.of(generation)
        assert before < between < after


async def test_what_is_rolled_back_changes_nothing(database, embedder):
    async with collection(database, embedder) as (generation, _):
        versions = IndexVersions(database)
        before = await versions.of(generation)
        with contextlib.suppress(RuntimeError):
            async with database.transaction() as connection:
                await connection.execute("DELETE FROM footnote.documents")
                raise RuntimeError
        assert await versions.of(generation) == before


async def test_a_transaction_of_many_documents_changes_the_number_once_and_deletes_in_reasonable_time(
    database, embedder
):
    async with collection(database, embedder) as (generation, _):
        versions = IndexVersions(database)
        async with database.transaction() as connection:
            await connection.execute(
                """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
                       pipeline_fingerprint, bytes, chunks, revision)
                   SELECT tenant_id, generation_id, 'many-' || n, 'many-' || n, title, metadata, content_hash,
                       pipeline_fingerprint, bytes, 0, revision
                   FROM generate_series(1, 20000) n, (SELECT * FROM footnote.documents LIMIT 1) AS one"""
            )
        before = await versions.of(generation)
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM footnote.documents WHERE id LIKE 'many-%'")
        assert await versions.of(generation) == before + 1


async def test_of_a_collection_that_is_gone_there_is_no_number(database, embedder):
    async with collection(database, embedder) as (generation, _):
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM footnote.collections WHERE id = $1", generation.collection_id)
        assert await IndexVersions(database).of(generation) is None


async def test_writers_side_by_side_do_not_wait_for_each_other_until_they_commit(database, embedder):
    async with collection(database, embedder) as (generation, documents):
        before = await IndexVersions(database).of(generation)
        made = [document(f"parallel-{number}.md", content=str(number)) for number in range(12)]
        await asyncio.gather(*(documents.write(each, [], replaces=None) for each in made))
        await asyncio.gather(*(documents.delete(each.id) for each in made))
        assert await IndexVersions(database).of(generation) == before + 24


def test_a_deleted_document_is_quoted_no_more_from_the_moment_it_is_gone(stack):
    with stack.serve(cache={"answers": True}) as http, stack.serve() as other:
        first = ask(http, "Deleted?", min_score=0, k=20).json()
        assert ask(http, "Deleted?", min_score=0, k=20).json()["cached"] is True
        gone = first["citations"][0]
        assert other.delete(f"/documents/{gone['document_id']}").status_code == 204  # by another process, as it were
        after = ask(http, "Deleted?", min_score=0, k=20).json()
        assert after["cached"] is False
        assert gone["document_id"] not in [each["document_id"] for each in after["citations"]]


def test_a_deleted_collection_answers_no_more(stack):
    created = {"name": "short-lived"}
    with stack.serve(cache={"answers": True}) as http, stack.serve() as other:
        assert other.post("/collections", json=created).status_code == 201
        stack.rows(
            """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
                   pipeline_fingerprint, bytes, chunks, revision)
               SELECT tenant_id, id, 'x', 'x', 'x', '{}', 'x', 'x', 1, 0, 1 FROM footnote.generations
               WHERE collection_id = (SELECT id FROM footnote.collections WHERE name = 'short-lived')"""
        )
        ask(http, "Gone?", collection="short-lived", min_score=0)
        assert other.delete("/collections/short-lived").status_code == 204
        response = http.post("/query", json={"question": "Gone?", "collection": "short-lived"})
        assert response.status_code == 404


# the cache by itself


class Versions:
    """Numbers of collections, as a test wants them."""

    def __init__(self):
        self.number = 1

    async def of(self, _):
        return self.number


ANSWER = Answer(
    "Yes [1].",
    sources=Sources((), (), collection="default", generation="1"),
    done=Done("stop", "m", Usage(1, 1, 2), 0.5, {"total": 9.0}, (), ()),
)


class Fresh:
    """Writes answers, and counts."""

    def __init__(self, answer=ANSWER):
        self.times = 0
        self.answer = answer

    async def __call__(self):
        self.times += 1
        yield self.answer.sources
        yield Token(self.answer.answer)
        yield self.answer.done


@pytest.fixture
def generation(embedder):
    from storage.generation import Generation

    return Generation(
        id=1,
        tenant_id="public",
        collection="default",
        collection_id=1,
        number=1,
        state="active",
        embedding=embedder.identity,
        chunking=CHUNKING,
    )


def found(generation):
    async def find():
        return generation

    return find


def cache_of(versions=None, *, clock=None, **values):
    settings = CacheSettings(answers=True, **values)
    return AnswerCache(settings, versions=versions or Versions(), fingerprint="g", clock=clock or (lambda: 0.0))


async def given(cache, generation, fresh, question=None):
    question = question or Question("q")
    return await collect(cache.events(question, find=found(generation), fresh=fresh))


async def test_a_kept_answer_is_forgotten_after_its_time(generation):
    clock, fresh = [0.0], Fresh()
    cache = cache_of(clock=lambda: clock[0], answer_ttl=60)
    await given(cache, generation, fresh)
    clock[0] = 59
    assert (await given(cache, generation, fresh)).sources.cached
    clock[0] = 61
    assert not (await given(cache, generation, fresh)).sources.cached


async def test_another_number_another_generation_or_another_tenant_is_another_answer(generation):
    versions, fresh = Versions(), Fresh()
    cache = cache_of(versions)
    await given(cache, generation, fresh)
    for change in ({"id": 2}, {"collection_id": 2}, {"tenant_id": "other"}):
        assert not (await given(cache, replace(generation, **change), fresh)).sources.cached
    versions.number = 2
    assert not (await given(cache, generation, fresh)).sources.cached
    versions.number = 1
    assert (await given(cache, generation, fresh)).sources.cached


async def test_a_change_while_an_answer_is_written_keeps_it_from_being_given_again(generation):
    versions = Versions()
    cache = cache_of(versions)

    class Changing(Fresh):
        async def __call__(self):
            versions.number += 1  # a document was deleted after the passages were found
            async for event in super().__call__():
                yield event

    await given(cache, generation, Changing())
    assert not (await given(cache, generation, Fresh())).sources.cached


@pytest.mark.parametrize(
    "answer",
    [
        replace(ANSWER, sources=replace(ANSWER.sources, generation="2")),
        replace(ANSWER, sources=replace(ANSWER.sources, collection="other")),
        replace(ANSWER, done=replace(ANSWER.done, finish_reason="extractive")),
        replace(ANSWER, done=replace(ANSWER.done, finish_reason="no_context")),
        replace(ANSWER, done=replace(ANSWER.done, finish_reason="length")),
    ],
)
async def test_what_came_from_elsewhere_or_is_no_whole_answer_of_a_model_is_not_kept(generation, answer):
    cache, fresh = cache_of(), Fresh(answer)
    for _ in range(2):
        await given(cache, generation, fresh)
    assert fresh.times == 2


async def test_where_the_collection_has_no_number_nothing_is_kept(generation):
    versions, fresh = Versions(), Fresh()
    versions.number = None
    cache = cache_of(versions)
    for _ in range(2):
        await given(cache, generation, fresh)
    assert fresh.times == 2


async def test_an_engine_that_looks_into_other_collections_is_always_asked(generation):
    cache, fresh = cache_of(), Fresh()
    for _ in range(2):
        await given(cache, generation, fresh, Question("q", mode="router"))
    assert fresh.times == 2


async def test_answers_are_forgotten_where_there_is_no_room_for_all(generation):
    cache, fresh = cache_of(answer_bytes=65_536), Fresh(replace(ANSWER, answer="x" * 20_000))
    for name in "abcdefa":
        await given(cache, generation, fresh, Question(name))
    assert fresh.times == 7
    huge = Fresh(replace(ANSWER, answer="x" * 100_000))
    for _ in range(2):
        await given(cache, generation, huge, Question("huge"))
    assert huge.times == 2


async def test_an_answer_that_nobody_waited_for_is_not_kept_half(generation):
    cache, fresh = cache_of(), Fresh()
    events = cache.events(Question("q"), find=found(generation), fresh=fresh)
    await anext(events)
    await anext(events)
    await events.aclose()
    assert not (await given(cache, generation, fresh)).sources.cached
