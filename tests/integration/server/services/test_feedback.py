"""Feedback in a real database: one rating a trace, the turn it is about, what deletes it, what is exported."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.indexed import real_app
from support.scripted import ScriptedEmbedder, running
from support.sql import execute

from storage.caller import Caller, acting_as
from storage.chat.conversations import ConversationCatalog
from storage.chat.feedback import EXPORT_PAGE, FeedbackStore, NewFeedback
from storage.chat.turns import NewTurn, TurnAnswer, TurnStore
from storage.cursors import encode_cursor
from storage.errors import FeedbackNotFound, InvalidCursor
from storage.leases import Leases

ROOT = Path(__file__).parents[4]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
UNKNOWN = "5f0c9c0e-7d0b-4e57-9f0e-1f6a2f4d3c11"
SQL = "'); DROP TABLE footnote.feedback; -- $1 %s {0}"
CITATIONS = [
    {"document_id": "b", "cited": True, "text": "t"},
    {"document_id": "c", "cited": False, "text": "t"},
    {"document_id": "a", "cited": True, "text": "t"},
    {"document_id": "b", "cited": True, "text": "t"},
]


def numbered(number):
    return f"{number + 1:032x}"


@pytest.fixture
def store(database):
    return FeedbackStore(database)


@pytest.fixture
def converse(database):
    """Return a function that answers a question in a conversation of its own, under a trace; it returns the id."""
    turns = TurnStore(database, leases=Leases(database, seconds=30))

    async def answered(trace_id, *, answer="In 1871 [1].", standalone="When was the lighthouse built?"):
        turn = await turns.begin(NewTurn("And when?", 1, "r", None, trace_id), collection="default")
        kept = TurnAnswer(answer, 1, standalone, json.dumps(CITATIONS), "stop", "m", None, None, "{}", "3")
        await turns.complete(turn, kept)
        return str(turn.conversation_id)

    return answered


@pytest.fixture
def http(settings):
    with (
        running(real_app(settings, embedder=ScriptedEmbedder())) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


async def listed(store, **wanted):
    return (await store.list(limit=100, cursor=None, **wanted)).items


async def test_a_rating_keeps_what_the_client_told_of_the_answer(store):
    told = NewFeedback(TRACE, "down", SQL, SQL, "A " + SQL, (SQL, "ü"), "default")
    kept = await store.put(told)
    (found,) = await listed(store)
    assert (found.id, found.trace_id, found.rating, found.created_at) == (kept.id, TRACE, "down", kept.created_at)
    assert (found.comment, found.question, found.answer) == (SQL, SQL, "A " + SQL)
    assert (found.document_ids, found.collection) == ((SQL, "ü"), "default")
    assert (found.conversation_id, found.generation, found.model) == (None, None, None)


async def test_texts_that_postgresql_refuses_are_kept_without_what_it_refuses(store):
    await store.put(NewFeedback(TRACE, "up", "a\0b", "half \ud83d a pair", "\0", ("d\0",)))
    (found,) = await listed(store)
    assert (found.comment, found.question, found.answer, found.document_ids) == ("ab", "half � a pair", None, ("d",))


async def test_the_latest_rating_counts_with_its_comment_and_what_is_known_of_the_answer_stays(store):
    first = await store.put(NewFeedback(TRACE, "up", "great", "q", "a", ("d",), "default"))
    same = await store.put(NewFeedback(TRACE, "up", "really"))
    other = await store.put(NewFeedback(TRACE, "down", question="q2"))
    (found,) = await listed(store)
    assert [kept.is_news for kept in (first, same, other)] == [True, False, True]
    assert {kept.id for kept in (first, same, other)} == {found.id}
    assert (found.rating, found.comment) == ("down", None)
    assert (found.question, found.answer, found.document_ids, found.collection) == ("q2", "a", ("d",), "default")
    assert first.created_at == other.created_at == found.created_at < found.updated_at == other.updated_at


async def test_ratings_of_one_trace_at_once_leave_one_row_that_is_one_of_them(store, dsn):
    given = [NewFeedback(TRACE, "up" if n % 2 else "down", f"comment {n % 2}") for n in range(40)]
    kept = await asyncio.gather(*(store.put(each) for each in given))
    (found,) = await listed(store)
    assert {each.id for each in kept} == {found.id}
    assert (found.rating, found.comment) in {("up", "comment 1"), ("down", "comment 0")}
    assert execute(dsn, "SELECT count(*) FROM footnote.feedback") == [(1,)]


async def test_pages_hold_every_rating_once_the_newest_first(store, dsn):
    for number in range(11):
        await store.put(NewFeedback(numbered(number), "up" if number % 3 else "down"))
    execute(dsn, "UPDATE footnote.feedback SET created_at = '2026-01-01' WHERE rating = 'up'")  # ties
    for rating in (None, "up", "down"):
        seen, cursor = [], None
        while True:
            page = await store.list(limit=2, cursor=cursor, rating=rating)
            assert len(page.items) <= 2
            seen += page.items
            if (cursor := page.next_cursor) is None:
                break
        wanted = {numbered(n) for n in range(11) if rating in (None, "up" if n % 3 else "down")}
        assert len(seen) == len(wanted)
        assert {item.trace_id for item in seen} == wanted
        assert [item.created_at for item in seen] == sorted((item.created_at for item in seen), reverse=True)


async def test_a_rating_that_is_changed_keeps_its_place(store):
    for number in range(3):
        await store.put(NewFeedback(numbered(number), "up"))
    first = await store.list(limit=1, cursor=None)
    await store.put(NewFeedback(numbered(0), "down"))
    rest = await store.list(limit=5, cursor=first.next_cursor)
    assert [item.trace_id for item in (*first.items, *rest.items)] == [numbered(2), numbered(1), numbered(0)]


@pytest.mark.parametrize("key", ["x", "2026-01-01", f"2026-01-01 {SQL}", f"9999-12-31T23:59:59-23:59 {UNKNOWN}", SQL])
async def test_a_cursor_of_somebody_elses_is_refused(store, key):
    with pytest.raises(InvalidCursor):
        await store.list(limit=1, cursor=encode_cursor(key))


@pytest.mark.parametrize("feedback_id", [UNKNOWN, "nope", SQL, "", "0" * 5000])
async def test_what_is_not_there_cannot_be_deleted(store, feedback_id):
    await store.put(NewFeedback(TRACE, "up"))
    with pytest.raises(FeedbackNotFound) as refused:
        await store.delete(feedback_id)
    assert len(str(refused.value)) < 200
    assert len(await listed(store)) == 1


async def test_tenants_neither_see_nor_replace_nor_delete_each_others_ratings(store, dsn, converse):
    execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")
    await converse(TRACE)
    ours = await store.put(NewFeedback(TRACE, "up", "ours"))
    with acting_as(Caller("other", "somebody", sees_all=True)):
        theirs = await store.put(NewFeedback(TRACE, "down"))
        assert ours.id != theirs.id
        (seen,) = await listed(store)
        assert (seen.id, seen.rating, seen.answer, seen.conversation_id) == (theirs.id, "down", None, None)
        with pytest.raises(FeedbackNotFound):
            await store.delete(ours.id)
    assert [item.comment for item in await listed(store)] == ["ours"]


async def test_a_turn_of_the_trace_is_believed_before_the_client(store, converse):
    await store.put(NewFeedback(TRACE, "down", "c", "told", "told", ("told",), "told"))  # before the turn is complete
    conversation = await converse(TRACE)
    (found,) = await listed(store)
    assert (found.question, found.answer) == ("When was the lighthouse built?", "In 1871 [1].")
    assert found.document_ids == ("b", "a")  # cited, in the citations' order, once
    assert (found.conversation_id, found.collection) == (conversation, "default")
    assert (found.generation, found.model, found.comment) == ("3", "m", "c")


async def test_a_message_that_was_not_rewritten_is_the_question_itself(store, converse):
    await converse(TRACE, standalone=None)
    await store.put(NewFeedback(TRACE, "up"))
    assert [item.question for item in await listed(store)] == ["And when?"]


async def test_a_trace_with_several_answers_is_one_line_with_the_last(store, converse):
    await converse(TRACE, answer="first")
    await converse(TRACE, answer="second")
    await store.put(NewFeedback(TRACE, "up"))
    assert [item.answer for item in await listed(store)] == ["second"]


async def test_deleting_a_conversation_deletes_the_feedback_on_its_answers_and_no_other(store, converse, database):
    conversation = await converse(numbered(1))
    await converse(numbered(2))
    for number in (1, 2, 3):
        await store.put(NewFeedback(numbered(number), "down", "private"))
    await ConversationCatalog(database).delete(conversation)
    assert {item.trace_id for item in await listed(store)} == {numbered(2), numbered(3)}


async def test_conversations_of_the_same_traces_can_be_deleted_while_their_answers_are_rated(store, converse, database):
    for _ in range(5):
        own = [[await converse(numbered(n)) for n in order] for order in (range(6), reversed(range(6)))]
        await asyncio.gather(*(store.put(NewFeedback(numbered(n), "up")) for n in range(6)))
        catalog = ConversationCatalog(database)
        work = [catalog.delete(each) for each in (*own[0], *own[1])]
        work += [store.put(NewFeedback(numbered(n), "down")) for n in range(6)]
        assert not [
            outcome for outcome in await asyncio.gather(*work, return_exceptions=True) if isinstance(outcome, Exception)
        ]


async def test_every_rating_is_exported_page_by_page(store, dsn):
    many = EXPORT_PAGE * 2 + 1
    execute(
        dsn,
        """INSERT INTO footnote.feedback (id, tenant_id, subject, trace_id, rating)
           SELECT gen_random_uuid(), 'public', 'local', lpad(to_hex(n), 32, '0'), 'up' FROM generate_series(1, %s) n""",
        many,
    )
    assert len({item.trace_id async for item in store.every()}) == many
    assert [item async for item in store.every(rating="down")] == []


async def test_feedback_on_an_answer_that_failed_is_about_its_question_and_goes_with_it(store, database):
    turns = TurnStore(database, leases=Leases(database, seconds=30))
    turn = await turns.begin(NewTurn("And when?", 1, "r", None, TRACE), collection="default")
    await turns.break_off(turn, state="failed", problem="model-failed")
    await store.put(NewFeedback(TRACE, "down", answer="It said nothing."))
    (rated,) = (await store.list(limit=10, cursor=None)).items
    assert (rated.question, rated.answer) == ("And when?", "It said nothing.")
    await ConversationCatalog(database).delete(str(turn.conversation_id))
    assert not (await store.list(limit=10, cursor=None)).items


def test_feedback_over_http_is_kept_listed_and_deleted(http, dsn):
    told = {"trace_id": TRACE, "rating": "up", "comment": SQL, "question": SQL, "answer": SQL, "document_ids": [SQL]}
    first = http.post("/feedback", json=told)
    second = http.post("/feedback", json={"trace_id": TRACE, "rating": "down"})
    http.post("/feedback", json={"trace_id": numbered(1), "rating": "up"})
    page = http.get("/feedback", params={"limit": 1}).json()
    rest = http.get("/feedback", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert [item["trace_id"] for item in page["items"] + rest["items"]] == [numbered(1), TRACE]
    assert (rest["items"][0]["rating"], rest["items"][0]["comment"], rest["next_cursor"]) == ("down", None, None)
    assert (rest["items"][0]["question"], rest["items"][0]["document_ids"]) == (SQL, [SQL])
    assert [http.delete(f"/feedback/{first.json()['id']}").status_code for _ in range(2)] == [204, 404]
    assert http.delete("/feedback/nope").json()["type"] == "/problems/feedback-not-found"
    assert http.delete("/feedback/%00").status_code == 422
    assert execute(dsn, "SELECT trace_id FROM footnote.feedback") == [(numbered(1),)]


def test_a_statement_that_fails_is_a_problem_that_quotes_nothing(http, dsn):
    execute(dsn, "ALTER TABLE footnote.feedback RENAME TO gone")
    broken = http.post("/feedback", json={"trace_id": TRACE, "rating": "up", "comment": "MARKED-SECRET"})
    execute(dsn, "ALTER TABLE footnote.gone RENAME TO feedback")
    assert (broken.status_code, broken.json()["type"]) == (500, "/problems/internal")
    assert "MARKED-SECRET" not in broken.text
    assert http.get("/feedback").json()["items"] == []


def export(dsn, *arguments, **options):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    return subprocess.run(
        [sys.executable, "-m", "storage", "export-feedback", *arguments],
        cwd=ROOT,
        env=clean | {"FOOTNOTE_DATABASE__URL": dsn, "LC_ALL": "C", **options.pop("env", {})},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


async def test_the_export_is_json_lines_of_ratings_with_their_answers(store, converse, dsn):
    conversation = await converse(numbered(1))
    await store.put(NewFeedback(numbered(1), "down", "“wrong”"))
    await store.put(NewFeedback(numbered(2), "up", question="q", answer="a", document_ids=("d",)))
    done = await asyncio.to_thread(export, dsn)
    assert (done.returncode, done.stderr) == (0, "")
    told, kept = (json.loads(line) for line in done.stdout.splitlines())
    assert kept["conversation_id"] == conversation
    assert (kept["rating"], kept["comment"], kept["model"]) == ("down", "“wrong”", "m")
    assert (kept["question"], kept["document_ids"]) == ("When was the lighthouse built?", ["b", "a"])
    assert (told["rating"], told["question"], told["answer"], told["document_ids"]) == ("up", "q", "a", ["d"])
    downs = await asyncio.to_thread(export, dsn, "--rating", "down")
    assert [json.loads(line)["trace_id"] for line in downs.stdout.splitlines()] == [numbered(1)]


@pytest.mark.parametrize("many", [1, 200])  # less than the output's buffer, and more
def test_an_export_that_nobody_reads_to_its_end_ends_quietly(dsn, many):
    execute(
        dsn,
        """INSERT INTO footnote.feedback (id, tenant_id, subject, trace_id, rating, comment)
           SELECT gen_random_uuid(), 'public', 'local', lpad(to_hex(n), 32, '0'), 'up', repeat('x', 4000)
           FROM generate_series(1, %s) n""",
        many,
    )
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = export(dsn, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_export_that_cannot_be_says_so_in_one_line(dsn):
    execute(dsn, "UPDATE footnote.alembic_version SET version_num = '0002'")
    old = export(dsn)
    away = export("postgresql://nobody@127.0.0.1:9/x", env={"FOOTNOTE_DATABASE__CONNECT_TIMEOUT": "1"})
    wrong = export(dsn, "--rating", "sideways")
    assert [done.returncode for done in (old, away, wrong)] == [2, 2, 2]
    assert [done.stdout for done in (old, away, wrong)] == ["", "", ""]
    assert "python -m storage upgrade" in old.stderr.splitlines()[-1]
    assert "not available" in away.stderr.splitlines()[-1]
    assert "Traceback" not in old.stderr + away.stderr + wrong.stderr
