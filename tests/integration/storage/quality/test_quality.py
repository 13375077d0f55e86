"""Golden questions in the database, and evaluations that a real worker runs in a real process, as whoever asked."""

import asyncio
import json
from functools import partial
from uuid import uuid4

import pytest
from support.indexed import index
from support.sql import execute
from support.workers import working

from ingestion.errors import EvaluationFailed
from ingestion.jobs.evaluating import evaluate, lines_of
from relevance.golden import GoldenPassage, GoldenQuestion
from storage.access.tenants import Tenants
from storage.caller import Caller, acting_as
from storage.documents.catalog import DocumentCatalog
from storage.documents.readers import DocumentReaders
from storage.errors import (
    CollectionNotFound,
    EvaluationNotFound,
    GoldenDocumentNotFound,
    GoldenQuestionExists,
    GoldenQuestionNotFound,
    ReportGone,
    TooManyGoldenQuestions,
)
from storage.jobs.payloads import Evaluate
from storage.quality import golden as golden_module
from storage.quality.evaluations import EvaluationStore, Options
from storage.quality.golden import GoldenStore, NewGolden
from storage.reach import reaching

ADA, BOB = Caller("public", "ada", ("eng",)), Caller("public", "bob", ("hr",))
ADMIN, ELSEWHERE = Caller("public", "root", sees_all=True), Caller("other", "ada", sees_all=True)
BREAD = "How many hours does sourdough bread rise?"
HYBRID = Options(("hybrid",), k=5, judge=False)


def golden(question, *documents, **members):
    made = GoldenQuestion(question, documents=frozenset(documents), **members)
    return NewGolden(made.asked, tuple(sorted(made.named_documents)), made.members())


@pytest.fixture
async def filled(database, embedder):
    """Fill a collection; bread is for Bob's group alone."""
    await index(database, embedder)
    (bread,) = [
        each
        for each in (await DocumentCatalog(database).list(collection="default", limit=9)).items
        if each.source == "bread.md"
    ]
    await DocumentReaders(database).put(bread.id, ["group:hr"], collection="default")
    return bread.id


async def asked(store, who, collection="default"):
    with acting_as(who):
        page = await store.list(collection, limit=50)
    return [each.members["question"] for each in page.items]


@pytest.mark.usefixtures("filled")
async def test_golden_questions_are_kept_changed_and_deleted(database):
    store = GoldenStore(database)
    with acting_as(ADA):
        first = await store.add("default", golden("Who built the lighthouse?", "lighthouse.md"))
        with pytest.raises(GoldenQuestionExists):
            await store.add("default", golden("  Who built the  lighthouse? ", "vacuum.md"))
        second = await store.add("default", golden("Who won?", unanswerable=True))
        with pytest.raises(GoldenQuestionExists):
            await store.replace(second.id, golden("Who built the lighthouse?"))
        changed = await store.replace(first.id, golden("Who built the lighthouse?", "vacuum.md"))
        assert changed.members["documents"] == ["vacuum.md"]
        assert changed.updated_at > first.updated_at
        assert [each.members["question"] for each in await store.every("default")] == [
            "Who built the lighthouse?",
            "Who won?",
        ]
        page = await store.list("default", limit=1)
        assert [each.id for each in page.items] == [second.id]
        rest = await store.list("default", limit=1, cursor=page.next_cursor)
        assert ([each.id for each in rest.items], rest.next_cursor) == ([first.id], None)
        imported = await store.import_("default", [golden("Who won?"), golden("New?"), golden("New?")])
        assert (imported.added, imported.missing) == (1, ())
        await store.delete(first.id)
        with pytest.raises(GoldenQuestionNotFound):
            await store.delete(first.id)
        with pytest.raises(GoldenQuestionNotFound):
            await store.replace("nonsense", golden("x"))
        with pytest.raises(CollectionNotFound):
            await store.add("nothing", golden("x"))


async def test_a_golden_question_about_what_one_may_not_read_is_not_there(database, dsn, filled):
    execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")
    store = GoldenStore(database)
    with acting_as(BOB):
        hidden = await store.add("default", golden(BREAD, "bread.md", answer="Twelve hours."))
        by_id = await store.add("default", golden("By id?", filled))
        await store.add("default", golden("For all?", "lighthouse.md"))
    assert await asked(store, BOB) == ["For all?", "By id?", BREAD]
    assert await asked(store, ADMIN) == ["For all?", "By id?", BREAD]
    assert await asked(store, ADA) == ["For all?"]
    with acting_as(ADA):
        for each in (hidden, by_id):
            with pytest.raises(GoldenQuestionNotFound):
                await store.replace(each.id, golden("Mine now?"))
            with pytest.raises(GoldenQuestionNotFound):
                await store.delete(each.id)
        imported = await store.import_("default", [golden(BREAD, "bread.md")])  # that Bob asks it tells her nothing
        assert (imported.added, imported.missing) == (1, ("bread.md",))
        mine = (await store.list("default", limit=9)).items[0]
        assert (mine.subject, mine.titles) == ("ada", {})
        assert len(await store.every("default")) == 2
    with acting_as(BOB):
        assert (await store.every("default"))[0].id == hidden.id  # of two that ask the same, the first
    with acting_as(ELSEWHERE), pytest.raises(CollectionNotFound):
        await store.list("default", limit=9)
    with acting_as(BOB), reaching(frozenset({"x"})):
        with pytest.raises(CollectionNotFound):
            await store.list("default", limit=9)
        with pytest.raises(GoldenQuestionNotFound):
            await store.delete(hidden.id)


async def test_what_is_not_there_and_what_one_may_not_read_are_refused_alike(database, filled):
    store = GoldenStore(database)
    reasons = []
    with acting_as(ADA):
        for name in ("bread.md", filled, "nothing.md"):
            with pytest.raises(GoldenDocumentNotFound) as refused:
                await store.add("default", golden("Which?", "lighthouse.md", name))
            assert refused.value.field == "documents"
            reasons.append(str(refused.value).replace(name, "…"))
        assert len(set(reasons)) == 1
        with pytest.raises(GoldenDocumentNotFound) as refused:
            await store.add("default", golden("Which?", passages=(GoldenPassage("bread.md", text="x"),)))
        assert refused.value.field == "passages"
        assert (await store.list("default", limit=9)).items == ()
        # what came in a file before its documents can be changed without them, but names no further ones
        imported = await store.import_("default", [golden("Which?", "nothing.md", "lighthouse.md")])
        assert imported.missing == ("nothing.md",)
        (kept,) = (await store.list("default", limit=9)).items
        assert kept.titles == {"lighthouse.md": "lighthouse.md"}
        await store.replace(kept.id, golden("Which one?", "nothing.md"))
        with pytest.raises(GoldenDocumentNotFound):
            await store.replace(kept.id, golden("Which one?", "nothing.md", "bread.md"))
    with acting_as(BOB):
        named = await store.add("default", golden("Which?", "bread.md", filled))
        assert len(set(named.titles.values())) == 1
        assert named.titles.keys() == {"bread.md", filled}


@pytest.mark.usefixtures("filled")
async def test_no_more_are_kept_than_there_may_be(database, monkeypatch):
    monkeypatch.setattr(golden_module, "MOST", 2)
    store = GoldenStore(database)
    with acting_as(ADA):
        with pytest.raises(TooManyGoldenQuestions):
            await store.import_("default", [golden(f"{n}?") for n in range(3)])
        assert (await store.import_("default", [golden(f"{n}?") for n in range(2)])).added == 2
        with pytest.raises(TooManyGoldenQuestions):
            await store.add("default", golden("One more?"))


@pytest.fixture
def environment(monkeypatch, dsn, shared_dir):
    """Give the process of an evaluation the test's settings."""
    monkeypatch.setenv("FOOTNOTE_DATABASE__URL", dsn)
    monkeypatch.setenv("FOOTNOTE_DATA_DIR", str(shared_dir))
    monkeypatch.setenv("FOOTNOTE_LLM__PROVIDER", "extractive")


async def ended(store, who, evaluation_id):
    async with asyncio.timeout(240):
        while True:
            with acting_as(who):
                found = await store.get(evaluation_id)
            if found.status not in {"queued", "running"}:
                return found
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("environment")
async def test_a_worker_evaluates_what_whoever_asked_may_read(database, settings, filled):
    golden_store, store = GoldenStore(database), EvaluationStore(database)
    for who in (ADA, BOB):
        with acting_as(who):
            await golden_store.import_("default", [golden(BREAD, "bread.md")])  # which she may not read
            await golden_store.add("default", golden("Who built the lighthouse?", "lighthouse.md"))
    handlers = {Evaluate.kind: partial(evaluate, database=database)}
    async with working(settings, database, handlers):
        begun = {}
        for who in (ADA, BOB):
            with acting_as(who):
                begun[who] = await store.begin("default", HYBRID, name="first", questions=2, request_id=None)
        found = {who: await ended(store, who, each.id) for who, each in begun.items()}
    for who, each in found.items():
        assert each.status == "succeeded", each.error
        assert (each.done, each.total) == (2, 2)
        (engine,) = each.summary
        assert engine["engine"] == "hybrid"
        # she asks for what she may not read, which is not found; he finds both
        assert engine["metrics"]["documents"]["hit@5"] == (1.0 if who is BOB else 0.5)
        with acting_as(who):
            result = await store.result(each.id)
            ticket = await store.ticket(each.id)
        assert ("bread.md" in json.dumps(json.loads(result)["engines"][0]["questions"][0]["found"])) is (who is BOB)
        with acting_as(Caller("", "")):
            report = await store.report(ticket)
        assert "<!doctype html>" in report.lower()
    with acting_as(ADA):
        with pytest.raises(EvaluationNotFound):
            await store.result(begun[BOB].id)
        assert [each.id for each in (await store.list(limit=9, collection=None)).items] == [begun[ADA].id]
    with acting_as(ADMIN):
        assert len((await store.list(limit=9, collection="default")).items) == 2
    await DocumentReaders(database).put(filled, ["group:boss"], collection="default")
    with acting_as(BOB):  # what he could read then he may not see now
        for call in (store.result, store.ticket):
            with pytest.raises(EvaluationNotFound):
                await call(begun[BOB].id)
        await store.delete(begun[BOB].id)
        with pytest.raises(EvaluationNotFound):
            await store.get(begun[BOB].id)


@pytest.mark.usefixtures("environment", "filled")
async def test_an_evaluation_that_cannot_be_done_says_why(database, settings):
    store = EvaluationStore(database)
    with acting_as(ADA):
        await GoldenStore(database).add("default", golden("Who built the lighthouse?", "lighthouse.md"))
        wrong = await store.begin(
            "default", Options(("nonsense",), k=5, judge=False), name="", questions=1, request_id=None
        )
    async with working(settings, database, {Evaluate.kind: partial(evaluate, database=database)}):
        found = await ended(store, ADA, wrong.id)
    assert found.status == "failed"
    assert "nonsense" in found.error.detail
    assert found.error.name == EvaluationFailed.slug


@pytest.mark.usefixtures("filled")
async def test_a_ticket_is_good_for_a_while(database, dsn):
    store = EvaluationStore(database)
    with acting_as(ADA):
        made = await store.begin("default", HYBRID, name="", questions=1, request_id=None)
        with pytest.raises(EvaluationNotFound):
            await store.ticket(made.id)
        execute(dsn, "UPDATE footnote.evaluations SET result = '{}', report = '<p>', documents = '{}'")
        ticket = await store.ticket(made.id)
        assert await store.report(ticket) == "<p>"
        with pytest.raises(ReportGone):
            await store.report(ticket + "x")
        execute(dsn, "UPDATE footnote.evaluations SET ticket_until = now() - interval '1 second'")
        with pytest.raises(ReportGone):
            await store.report(ticket)


async def test_a_tenant_goes_with_its_golden_questions_and_evaluations(database, dsn, embedder):
    tenants = Tenants(database)
    await tenants.create("acme")
    with acting_as(Caller("acme", "ada", sees_all=True)):
        await index(database, embedder)
        await GoldenStore(database).add("default", golden("Why?", "bread.md"))
        await EvaluationStore(database).begin("default", HYBRID, name="", questions=1, request_id=None)
    told = await tenants.delete("acme")
    assert (told["golden_questions"], told["evaluations"]) == (1, 1)
    assert execute(dsn, "SELECT count(*) FROM footnote.golden_questions") == [(0,)]


def test_ids_that_come_twice_do_not_keep_a_file_from_being_read():
    from datetime import UTC, datetime

    from storage.quality.golden import GoldenInfo

    def info(question, **members):
        now = datetime.now(UTC)
        return GoldenInfo(str(uuid4()), "default", "ada", {"question": question, **members}, now, now)

    lines = lines_of([info("A?", id="1"), info("B?", id="1"), info("C?")]).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": "1", "question": "A?"},
        {"question": "B?"},
        {"question": "C?"},
    ]
